"""The reduced problem: what is left of a regression once its samples are gone, and coordinates."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation.problem import reduction
from deflation.problem.components import (
    Components,
    distances,
    norms,
    product,
    row_norm,
)
from deflation.problem.targets import Target, distance
from rankwise import checks
from rankwise.compiling import jit_quickly


class Reduced(NamedTuple):
    """The fields and the algebra of `Regression`, which adds the ways to make one."""

    target: Target
    whitener: jax.Array | None
    root: jax.Array | None
    unexplained: jax.Array
    freedom: jax.Array
    weight: jax.Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d)."""
        return self.target.shape

    @property
    def dtype(self):
        """Floating type of the whole problem."""
        return self.target.dtype

    @property
    def energy(self) -> jax.Array:
        """||Y (I - P_X)||_F^2, what no W can explain."""
        return self.unexplained**2

    @property
    def gram(self) -> jax.Array | None:
        """S = X X^T (d, d); None for X = I."""
        return None if self.root is None else product(self.root, self.root)

    def design_rank(self) -> jax.Array:
        """Rank of X: the trace of the projector S^(-1/2) S^(1/2) on its row space."""
        if self.root is None:
            return jnp.asarray(self.shape[1], self.dtype)
        if self.whitener is None:
            return jnp.linalg.matrix_rank(self.root).astype(self.dtype)
        return jnp.round(jnp.sum(self.whitener * self.root.T))

    def to_whitened(self, components: Components) -> Components:
        """Components as approximations of M: a_k becomes S^(1/2) a_k."""
        if self.root is None:
            return components
        return Components(components.b, product(components.a, self.root))

    def to_original(self, components: Components) -> Components:
        """The inverse of `to_whitened` on the row space of X.

        Of a problem made by `from_weight`: a_k are the rows of B^+ W0, the best for these b_k in
        every metric at once, so that nothing is inverted.
        """
        if self.weight is not None:
            scale = row_norm(components.b)
            there = scale > 0
            scale = jnp.where(there, scale, 1)
            directions = jnp.where(there, components.b / scale, 0)
            a = product(jnp.linalg.pinv(directions.T), self.weight) / scale
            return Components(components.b, a)
        if self.whitener is None:
            return components
        return Components(components.b, product(components.a, self.whitener))

    def residual(self, components: Components) -> jax.Array:
        """||Y - W X||_F of the sum of the components (original coordinates); units of Y.

        Example:
          >>> from deflation import Regression
          >>> problem = Regression.from_matrix(jnp.diag(jnp.array([3.0, 4.0])))
          >>> top = Components(b=jnp.array([[0.0, 4.0]]), a=jnp.array([[0.0, 1.0]]))
          >>> float(problem.residual(top))
          3.0
        """
        self.check_components(components)
        return _residual(self, components)

    def check_components(self, value, name: str = "components", rank: int | None = None) -> None:
        """Raises ValueError unless value is Components of this problem (of that rank)."""
        checks.instance(name, value, Components, "a Components(b, a)")
        m, d = self.shape
        shapes = tuple(jnp.shape(rows) for rows in value)
        r = (shapes[0] or (None,))[0] if rank is None else rank
        if shapes != ((r, m), (r, d)):
            r = "r" if rank is None else rank
            raise ValueError(
                f"{name} has shapes b {shapes[0]} and a {shapes[1]}; "
                f"allowed are b ({r}, {m}) and a ({r}, {d})"
            )

    def component_errors(self, components: Components, exact: Components) -> jax.Array:
        """G_k = ||(R_k - R*_k) X||_F / ||R*_k X||_F against the exact components, shape (r,).

        Raises:
          ValueError: components of other shapes than `exact`, or than the problem has.
        """
        self.check_components(components)
        self.check_components(exact, "exact", components.b.shape[0])
        return _component_errors(self, components, exact)


# One program each: their operations one by one are dozens to compile.
@jit_quickly
def _residual(problem: Reduced, components: Components) -> jax.Array:
    inside = distance(problem.target, problem.to_whitened(components))
    return reduction.together(jnp, problem.unexplained, inside)


@jit_quickly
def _component_errors(problem: Reduced, components: Components, exact: Components) -> jax.Array:
    reference = problem.to_whitened(exact)
    scale = norms(reference)
    gap = distances(problem.to_whitened(components), reference)
    return gap / jnp.where(scale > 0, scale, 1)
