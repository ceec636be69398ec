"""The target M (m, d) of a problem: a dense array, or an operator known by its products; and inside
a run over devices that is cut by rows, what one of them holds.

Everything a solver asks of the target is here: products with blocks of row vectors. The functions
take arrays as they are, and any other `Matrix`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.components import (
    Components,
    frobenius,
    product,
    product_transposed,
    row_norm,
)
from rankwise import checks

BLOCK = 256  # identity columns per block when an operator's residual is summed


class Matrix(abc.ABC):
    """A matrix M that is known by its products with blocks of row vectors."""

    shape: tuple[int, int]
    dtype: jnp.dtype

    @abc.abstractmethod
    def times(self, a: jax.Array) -> jax.Array:
        """(M a_k)_k for rows a (K, d): shape (K, m)."""

    @abc.abstractmethod
    def transposed(self, b: jax.Array) -> jax.Array:
        """(M^T b_k)_k for rows b (K, m): shape (K, d)."""

    def entries(self) -> jax.Array | None:
        """M as an array; None where it is known by its products alone."""
        return None

    def magnitude(self) -> jax.Array:
        """A size of its entries: |M g| for a normal vector g, whose mean square is ||M||_F^2."""
        probe = jax.random.normal(jax.random.key(0), (1, self.shape[1]), self.dtype)
        return row_norm(self.times(probe))[0, 0]

    def distance(self, components: Components) -> jax.Array:
        """||M - sum_k b_k a_k^T||_F: d products, in blocks, so memory stays at BLOCK (m + d)."""
        d = self.shape[1]

        def add_block(total, start):
            index = start + jnp.arange(BLOCK)
            unit = jax.nn.one_hot(index, d, dtype=self.dtype)  # rows beyond d are zero
            rest = self.times(unit) - product(product(unit, components.a.T), components.b)
            return frobenius(jnp.stack([total, frobenius(rest)])), None

        starts = jnp.arange(0, d, BLOCK)
        return jax.lax.scan(add_block, jnp.zeros((), self.dtype), starts)[0]


@dataclasses.dataclass(frozen=True)
class Dense(Matrix):
    """An array."""

    array: jax.Array

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d)."""
        return self.array.shape

    @property
    def dtype(self):
        """That of M."""
        return self.array.dtype

    def times(self, a: jax.Array) -> jax.Array:
        """(M a_k)_k."""
        return product_transposed(a, self.array)

    def transposed(self, b: jax.Array) -> jax.Array:
        """(M^T b_k)_k."""
        return product(b, self.array)

    def entries(self) -> jax.Array:
        """M itself."""
        return self.array

    def magnitude(self) -> jax.Array:
        """The largest entry."""
        return jnp.max(jnp.abs(self.array))

    def distance(self, components: Components) -> jax.Array:
        """Computed from the difference itself."""
        return frobenius(self.array - components.matrix())


@dataclasses.dataclass(frozen=True)
class OnHost(Dense):
    """An array of numpy, whose products with arrays of numpy are no programs of JAX."""

    array: np.ndarray

    def times(self, a: np.ndarray) -> np.ndarray:
        """(M a_k)_k."""
        return a @ self.array.T

    def transposed(self, b: np.ndarray) -> np.ndarray:
        """(M^T b_k)_k."""
        return b @ self.array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Operator(Matrix):
    """An implicit matrix: matvec (d,) -> (m,) and rmatvec (m,) -> (d,).

    The functions are `jax.tree_util.Partial`s, so that the arrays they hold are arguments of a
    compiled run (and can be differentiated), not constants of it.
    """

    matvec: Callable
    rmatvec: Callable
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    dtype: jnp.dtype = dataclasses.field(metadata={"static": True})

    def times(self, a: jax.Array) -> jax.Array:
        """(M a_k)_k."""
        return jax.vmap(self.matvec)(a)

    def transposed(self, b: jax.Array) -> jax.Array:
        """(M^T b_k)_k."""
        return jax.vmap(self.rmatvec)(b)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowBlock(Matrix):
    """This device's rows (m/Q, d) of M, inside a `shard_map` over the Q devices of a mesh axis.

    Factors are whole on every device: M a is computed in blocks and gathered, M^T b is summed.
    """

    rows: jax.Array
    axis: str = dataclasses.field(metadata={"static": True})
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self):
        """That of M."""
        return self.rows.dtype

    def times(self, a: jax.Array) -> jax.Array:
        """(M a_k)_k."""
        block = product_transposed(a, self.rows)
        return jax.lax.all_gather(block, self.axis, axis=1, tiled=True, to="invarying")

    def transposed(self, b: jax.Array) -> jax.Array:
        """(M^T b_k)_k."""
        size = self.rows.shape[0]
        start = jax.lax.axis_index(self.axis) * size
        block = jax.lax.dynamic_slice_in_dim(b, start, size, axis=1)
        return jax.lax.psum(product(block, self.rows), self.axis)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scaled(Matrix):
    """factor M of another target M, without a copy of it: vectors are multiplied first."""

    target: Target
    factor: jax.Array

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d)."""
        return self.target.shape

    @property
    def dtype(self):
        """That of M."""
        return self.target.dtype

    def times(self, a: jax.Array) -> jax.Array:
        """(factor M a_k)_k."""
        return times(self.target, self.factor * a)

    def transposed(self, b: jax.Array) -> jax.Array:
        """(factor M^T b_k)_k."""
        return times_transposed(self.target, self.factor * b)

    def entries(self) -> jax.Array | None:
        """factor M, a copy."""
        inner = entries(self.target)
        return None if inner is None else self.factor * inner

    def magnitude(self) -> jax.Array:
        """That of M, multiplied."""
        return jnp.abs(self.factor) * magnitude(self.target)


Target = jax.Array | Matrix


def _matrix(target: Target) -> Matrix:
    return target if isinstance(target, Matrix) else Dense(target)


def times(target: Target, a: jax.Array) -> jax.Array:
    """(M a_k)_k for rows a (K, d): shape (K, m)."""
    return _matrix(target).times(a)


def times_transposed(target: Target, b: jax.Array) -> jax.Array:
    """(M^T b_k)_k for rows b (K, m): shape (K, d)."""
    return _matrix(target).transposed(b)


def entries(target: Target) -> jax.Array | None:
    """M as an array; None where it is known by its products alone."""
    return _matrix(target).entries()


def magnitude(target: Target) -> jax.Array:
    """The size of its entries: the largest one, or of an operator |M g| for a normal vector g."""
    return _matrix(target).magnitude()


def distance(target: Target, components: Components) -> jax.Array:
    """||M - sum_k b_k a_k^T||_F; where entries are known, from the difference itself."""
    return _matrix(target).distance(components)


def on_host(target: Target) -> Target | None:
    """The target with its entries as numpy's, where they are in a CPU's memory; else None."""
    if isinstance(target, Scaled):
        inner = on_host(target.target)
        known = inner is not None and not checks.traced(target.factor)
        return Scaled(inner, np.asarray(target.factor)) if known else None
    return OnHost(np.asarray(target)) if checks.in_memory(target) else None


def size(target: Target) -> jax.Array:
    """||M||_F."""
    m, d = target.shape
    nothing = Components(jnp.zeros((1, m), target.dtype), jnp.zeros((1, d), target.dtype))
    return distance(target, nothing)
