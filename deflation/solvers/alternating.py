"""Alternating least squares, the default solver; see `solver` for the legend."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from deflation.problem.components import (
    Components,
    normalise,
    row_norm,
)
from deflation.problem.regression import Regression
from deflation.solvers.consistency import consistent_sweep, payload
from deflation.solvers.solver import Solver, away_from_published
from rankwise import checks

if TYPE_CHECKING:
    from deflation.rounds.state import Plan


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Alternating(Solver):
    """See `alternating`."""

    sweeps: int = dataclasses.field(default=1, metadata={"static": True})
    consistent: bool = dataclasses.field(default=False, metadata={"static": True})

    def check(self, plan: Plan) -> None:
        """Consistent workers know no others but those of their round, and correct them once."""
        super().check(plan)
        if self.consistent and plan.way == "parallel":
            if plan.extensions.orthogonal:
                raise ValueError(f"orthogonal is True; allowed with {self} is False")
            if plan.publish.staleness:
                # Its triangular step is what makes predecessors current.
                raise ValueError(f"staleness is {plan.publish.staleness}; allowed with {self} is 0")

    def share(self, problem: Regression, own: Components, working: jax.Array) -> Components | None:
        """Consistent workers send products, which are turned into factors after the gather."""
        return payload(problem.target, own, working) if self.consistent else None

    def combine(self, sent: Components, old: Components, weights, working) -> Components:
        """Of consistent workers by a triangular step."""
        return consistent_sweep(sent, old, weights, working) if self.consistent else sent

    def local(self, problem: Regression, view, own: Components) -> Components:
        """b <- M_k a, then `sweeps` times a <- M_k^T b / |.|, b <- M_k a."""
        del problem
        a, b = away_from_published(view, own.a)

        def sweep(_, factors):
            b, a = factors
            image = normalise(view.transposed(b))
            # M_k = 0 (fewer directions left than workers): keep the direction, publish b = 0.
            a = jnp.where(row_norm(image) > 0.5, image, a)
            return Components(view.times(a), a)

        return jax.lax.fori_loop(0, self.sweeps, sweep, Components(b, a))


def alternating(sweeps: int = 1, *, consistent: bool = False) -> Alternating:
    """Alternating least squares on min_{b,a} ||M_k - b a^T||_F: power iteration on M_k^T M_k.

    Exact half-steps in b and a make it independent of the conditioning of X and of units. Worker k
    contracts by (s_{k+1}/s_k)^(2 sweeps) per round.

    Args:
      sweeps: pairs of half-steps per round, at least 1.
      consistent: parallel workers use their predecessors' factors of the same round, not of the one
        before (consistency.py): fewer rounds and fewer products per round, the same exchange and
        the same fixed points. All workers refine against each other from the first round on, so
        `staggered` only delays when they are published. A sequential run has one worker at a time
        and does not change.

    Raises:
      ValueError: sweeps < 1 or not an integer; consistent with more than one sweep, which would
        need an exchange for each.

    Source: arXiv 2505.22602 section 3; arXiv 2502.17615 Algorithm 1 (power iteration).

    Example:
      >>> alternating(sweeps=2).sweeps
      2
    """
    sweeps = checks.integer("sweeps", sweeps, 1)
    if checks.flag("consistent", consistent) and sweeps > 1:
        raise ValueError(f"sweeps is {sweeps}; allowed with consistent is 1")
    return Alternating(sweeps, consistent)
