"""Rank-one solvers: what one worker does with its deflated target.

Legend: K workers of a block, rows b (K, m) and a (K, d) in whitened coordinates; M_k is worker k's
target with its predecessors subtracted. A solver is configured first and run later. It consists of

  init(problem, rank, key)   cold factors of all workers
  warm(factors)              the same from given factors
  local(problem, view, own)  a round's steps of a block of workers; `view` multiplies by M_k
  finish(factors)            the published form
  share(problem, own, ...)   what a block of parallel workers sends in place of local's factors
  combine(sent, ...)         an r x r step that makes factors of what was gathered
  check(plan)                refuses runs that it cannot be part of
  scaled, multiplied         the solver and its factors in other units

All but `local` have a default in `Solver`. A solver has a file of its own: alternating.py,
gradient_descent.py, krylov.py. Its configuration is a pytree: numbers are data (changing a step
size does not recompile), choices are static.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from deflation.problem.components import (
    Components,
    canonical,
    generic,
    normalise,
    norms,
    row_norm,
)
from deflation.problem.regression import Regression

if TYPE_CHECKING:
    from deflation.rounds.state import Plan


class Solver(abc.ABC):
    """What the solvers share: directions alone to begin with, and nothing is exchanged but the
    factors themselves."""

    def check(self, plan: Plan) -> None:
        """Raises ValueError for a run that the solver cannot be part of."""
        if plan.way == "joint":
            raise ValueError(f"solver is {self}; allowed for joint is gradient_descent(step_size)")

    def init(self, problem: Regression, rank: int, key: jax.Array) -> Components:
        """Random unit directions a, b = 0: nothing is published before the first round."""
        m, d = problem.shape
        a = jax.random.normal(key, (rank, d), problem.dtype)
        return Components(jnp.zeros((rank, m), problem.dtype), normalise(a))

    def warm(self, factors: Components) -> Components:
        """Only the direction of a matters."""
        return canonical(factors)

    @abc.abstractmethod
    def local(self, problem: Regression, view, own: Components) -> Components:
        """A round's steps of a block of workers."""

    def share(self, problem: Regression, own: Components, working: jax.Array) -> Components | None:
        """What a block of workers sends for `combine`; None where it is the factors of `local`."""
        del problem, own, working
        return None

    def combine(self, sent: Components, old: Components, weights, working) -> Components:
        """All workers' factors (r, .) from what was gathered, which are these factors if `share`
        made nothing else."""
        del old, weights, working
        return sent

    def scaled(self, unit: jax.Array) -> Solver:
        """The same solver of M / unit."""
        del unit
        return self

    def multiplied(self, factors: Components, factor: jax.Array) -> Components:
        """Factors of the maps factor R_k, in the form that the solver keeps them in."""
        return Components(factors.b * factor, factors.a)

    def finish(self, factors: Components) -> Components:
        """Published factors: |a_k| = 1, the scale and a canonical sign in b_k."""
        return canonical(factors)


def away_from_published(view, a):
    """The directions a and M_k a; a row of a that M_k maps to rounding starts afresh.

    A worker that refines in private follows the same direction as the predecessor that is about to
    publish. Once that is published, M_k a is zero, exactly if both have converged, and power
    iteration would stay there for ever.
    """
    b = view.times(a)
    subtracted = jnp.max(view.weights * norms(view.published), axis=1, keepdims=True)
    lost = row_norm(b) <= 8 * jnp.finfo(a.dtype).eps * subtracted

    def fresh():
        # The same for all workers, so that it does not depend on how they are blocked.
        probe = generic(b.shape[1:], b.dtype)
        image = normalise(view.transposed(jnp.broadcast_to(probe, b.shape)))
        again = jnp.where(lost & (row_norm(image) > 0.5), image, a)
        return again, view.times(again)

    return jax.lax.cond(jnp.any(lost), fresh, lambda: (a, b))
