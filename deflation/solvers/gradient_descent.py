"""Gradient descent on both factors; see `solver` for the legend."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from deflation.problem.components import (
    Components,
    balanced,
    normalise,
    product,
    row_norm,
)
from deflation.problem.regression import Regression
from deflation.problem.targets import times_transposed
from deflation.solvers.solver import Solver
from rankwise import checks

if TYPE_CHECKING:
    from deflation.rounds.state import Plan

COORDINATES = ("whitened", "original")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientDescent(Solver):
    """See `gradient_descent`; made directly, `step_size` may be (r, 1), one per parallel worker."""

    step_size: jax.Array | float | None = None
    steps: int = dataclasses.field(default=1, metadata={"static": True})
    coordinates: str = dataclasses.field(default="whitened", metadata={"static": True})

    def check(self, plan: Plan) -> None:
        """A joint run needs a step size; one for each worker needs all workers in one block."""
        if self.step_size is None:
            return super().check(plan)
        each = plan.way == "parallel" and plan.devices.mesh is None
        shape = jnp.shape(self.step_size)
        if shape not in (((), (plan.rank, 1)) if each else ((),)):
            raise ValueError(f"step_size has shape {shape}; allowed is one number")

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
