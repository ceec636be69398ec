"""Rank-one solvers: what one worker does with its deflated target.

Legend: K workers of a block, rows b (K, m) and a (K, d) in whitened coordinates; M_k is worker k's
target with its predecessors subtracted. A solver is configured first and run later. It consists of

  init(problem, rank, key)   cold factors of all workers
  warm(factors)              the same from given factors
  local(problem, view, own)  a round's steps of a block of workers; `view` multiplies by M_k
  finish(factors)            the published form

and, where it is `collective`, in place of local

  share(problem, own, ...)   what a block of workers sends
  combine(sent, ...)         an r x r step that makes factors of what was gathered

All but `local` have a default in `Solver`; krylov.py has one more solver. Its configuration is a
pytree: numbers are data (changing a step size does not recompile), choices are static.
"""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp

from deflation import checks
from deflation.components import (
    Components,
    balanced,
    canonical,
    normalise,
    norms,
    product,
    row_norm,
)
from deflation.consistency import consistent_sweep, payload
from deflation.regression import Regression
from deflation.targets import times_transposed

COORDINATES = ("whitened", "original")


class Solver(abc.ABC):
    """What the solvers share: directions alone to begin with, and nothing is exchanged but the
    factors themselves."""

    @property
    def collective(self) -> bool:
        """Whether parallel workers send what `share` makes, and `combine` makes factors of it."""
        return False

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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Alternating(Solver):
    """See `alternating`."""

    sweeps: int = dataclasses.field(default=1, metadata={"static": True})
    consistent: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def collective(self) -> bool:
        """Consistent workers send products, which are turned into factors after the gather."""
        return self.consistent

    def share(self, problem: Regression, own: Components, working: jax.Array) -> Components:
        """What a block of consistent workers sends."""
        return payload(problem.target, own, working)

    def combine(self, sent: Components, old: Components, weights, working) -> Components:
        """All consistent workers' factors, by a triangular step on what was gathered (r, .)."""
        return consistent_sweep(sent, old, weights, working)

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
        probe = jax.random.normal(jax.random.key(0), b.shape[1:], b.dtype)
        image = normalise(view.transposed(jnp.broadcast_to(probe, b.shape)))
        again = jnp.where(lost & (row_norm(image) > 0.5), image, a)
        return again, view.times(again)

    return jax.lax.cond(jnp.any(lost), fresh, lambda: (a, b))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientDescent(Solver):
    """See `gradient_descent`; made directly, `step_size` may be (r, 1), one per parallel worker."""

    step_size: jax.Array | float | None = None
    steps: int = dataclasses.field(default=1, metadata={"static": True})
    coordinates: str = dataclasses.field(default="whitened", metadata={"static": True})

    def init(self, problem: Regression, rank: int, key: jax.Array) -> Components:
        """a = 0, b ~ N(0, s I / m), s a guess of the top singular value: scales with the target."""
        m, d = problem.shape
        key_b, key_s = jax.random.split(key)
        probe = normalise(jax.random.normal(key_s, (1, m), problem.dtype))
        guess = row_norm(times_transposed(problem.target, probe)) * (m / min(m, d)) ** 0.5
        b = jax.random.normal(key_b, (rank, m), problem.dtype) * jnp.sqrt(guess / m)
        return Components(b, jnp.zeros((rank, d), problem.dtype))

    def warm(self, factors: Components) -> Components:
        """Balanced, |b_k| = |a_k|, as gradient flow from small factors ends; a zero product (a = 0,
        say) has no balance and is taken as given."""
        return balanced(factors)

    def scaled(self, unit: jax.Array) -> GradientDescent:
        """A step size is in units of 1/s, so that it grows with the unit."""
        if self.step_size is None:
            return self
        return dataclasses.replace(self, step_size=self.step_size * unit)

    def multiplied(self, factors: Components, factor: jax.Array) -> Components:
        """Balanced factors stay balanced."""
        root = jnp.sqrt(factor)
        return Components(factors.b * root, factors.a * root)

    def local(self, problem: Regression, view, own: Components) -> Components:
        """`steps` simultaneous descent steps on 1/2 ||M_k - b a^T||_F^2."""
        gram, top = None, jnp.ones((), problem.dtype)
        if self.coordinates == "original" and problem.root is not None:
            gram = problem.gram
            if self.step_size is None:
                top = jnp.linalg.norm(problem.root, 2) ** 2

        def step(_, factors):
            b, a = factors
            image, coimage = view.times(a), view.transposed(b)
            down_b = image - b * jnp.sum(a * a, axis=1, keepdims=True)
            down_a = coimage - a * jnp.sum(b * b, axis=1, keepdims=True)
            if gram is not None:
                # a~ = S^(1/2) a: a step along the gradient in a is a step along S grad in a~.
                down_a = product(down_a, gram)
            if self.step_size is None:
                size = 1.5 / _curvature(b, a, image, coimage, top)
            else:
                size = jnp.asarray(self.step_size, b.dtype)
            return Components(b + size * down_b, a + size * down_a)

        return jax.lax.fori_loop(0, self.steps, step, own)


def _curvature(b, a, image, coimage, top):
    """An estimate (K, 1) of the largest Hessian eigenvalue of 1/2 ||M_k - b a^T||^2 at (b, a).

    Blocks |a|^2 I and |b|^2 S, coupling at most s + |a||b| with s the top singular value of M_k;
    at the balanced optimum it is 2 s. The images that the gradient needs anyway estimate s from
    below, better as (b, a) align, which is why steps stop at 1.5 / curvature and not at 2.
    """
    norm_b, norm_a = row_norm(b), row_norm(a)
    seen_a = jnp.where(norm_a > 0, row_norm(image) / jnp.where(norm_a > 0, norm_a, 1), 0)
    seen_b = jnp.where(norm_b > 0, row_norm(coimage) / jnp.where(norm_b > 0, norm_b, 1), 0)
    coupling = jnp.maximum(jnp.maximum(seen_a, seen_b), norm_a * norm_b)
    curvature = jnp.maximum(norm_a**2, top * norm_b**2) + jnp.sqrt(top) * coupling
    # Both factors and images zero: nothing left to fit, any step is zero.
    return jnp.where(curvature > 0, curvature, 1)


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


def gradient_descent(
    step_size=None, steps: int = 1, coordinates: str = "whitened"
) -> GradientDescent:
    """Simultaneous gradient descent on 1/2 ||M_k - b a^T||_F^2 in both factors.

    Args:
      step_size: a number > 0 in units of 1/s, s the singular values of the target (in original
        coordinates also of 1/lambda, lambda the eigenvalues of X X^T). None adapts it to the
        curvature at every step, worker by worker.
      steps: descent steps per round, at least 1.
      coordinates: "whitened" descends in S^(1/2) a; "original" in a itself, as the papers do, whose
        speed depends on the conditioning of X.

    Raises:
      ValueError: a step size that is not > 0, steps < 1, unknown coordinates.

    Source: arXiv 2505.22602 eq. (5), there with step_size=0.003 and coordinates="original".

    Example:
      >>> gradient_descent(0.003, coordinates="original").steps
      1
    """
    if step_size is not None:
        checks.positive("step_size", step_size)
    checks.choice("coordinates", coordinates, COORDINATES)
    return GradientDescent(step_size, checks.integer("steps", steps, 1), coordinates)
