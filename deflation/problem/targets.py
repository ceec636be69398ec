"""The target M (m, d) of a problem: a dense array, or an operator known by its products; and inside
a run over devices that is cut by rows, what one of them holds.

Everything a solver asks of the target is here: products with blocks of row vectors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, frobenius, product, product_transposed

BLOCK = 256  # identity columns per block when an operator's residual is summed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Operator:
    """An implicit matrix: matvec (d,) -> (m,) and rmatvec (m,) -> (d,).

    The functions are `jax.tree_util.Partial`s, so that the arrays they hold are arguments of a
    compiled run (and can be differentiated), not constants of it.
    """

    matvec: Callable
    rmatvec: Callable
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    dtype: jnp.dtype = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowBlock:
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scaled:
    """factor M of another target M, without a copy of it: vectors are multiplied first."""

    target: jax.Array | Operator | RowBlock
    factor: jax.Array

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d)."""
        return self.target.shape

    @property
    def dtype(self):
        """That of M."""
        return self.target.dtype


Target = jax.Array | Operator | RowBlock | Scaled


def times(target: Target, a: jax.Array) -> jax.Array:
    """(M a_k)_k for rows a (K, d): shape (K, m)."""
    if isinstance(target, Scaled):
        return times(target.target, target.factor * a)
    if isinstance(target, Operator):
        return jax.vmap(target.matvec)(a)
    if isinstance(target, RowBlock):
        block = product_transposed(a, target.rows)
        return jax.lax.all_gather(block, target.axis, axis=1, tiled=True, to="invarying")
    return product_transposed(a, target)


def times_transposed(target: Target, b: jax.Array) -> jax.Array:
    """(M^T b_k)_k for rows b (K, m): shape (K, d)."""
    if isinstance(target, Scaled):
        return times_transposed(target.target, target.factor * b)
    if isinstance(target, Operator):
        return jax.vmap(target.rmatvec)(b)
    if isinstance(target, RowBlock):
        size = target.rows.shape[0]
        start = jax.lax.axis_index(target.axis) * size
        block = jax.lax.dynamic_slice_in_dim(b, start, size, axis=1)
        return jax.lax.psum(product(block, target.rows), target.axis)
    return product(b, target)


def entries(target: Target) -> jax.Array | None:
    """M as an array; None where it is known by its products alone."""
    if isinstance(target, Scaled):
        inner = entries(target.target)
        return None if inner is None else target.factor * inner
    return target if isinstance(target, jax.Array) else None


def distance(target: jax.Array | Operator, components: Components) -> jax.Array:
    """||M - sum_k b_k a_k^T||_F, computed from the difference itself.

    An operator costs d products, in blocks, so memory stays at BLOCK (m + d).
    """
    if not isinstance(target, Operator):
        return frobenius(target - components.matrix())
    d = target.shape[1]

    def add_block(total, start):
        index = start + jnp.arange(BLOCK)
        unit = jax.nn.one_hot(index, d, dtype=target.dtype)  # rows beyond d are zero
        rest = times(target, unit) - product(product(unit, components.a.T), components.b)
        return frobenius(jnp.stack([total, frobenius(rest)])), None

    starts = jnp.arange(0, d, BLOCK)
    return jax.lax.scan(add_block, jnp.zeros((), target.dtype), starts)[0]


def size(target: jax.Array | Operator) -> jax.Array:
    """||M||_F."""
    m, d = target.shape
    nothing = Components(jnp.zeros((1, m), target.dtype), jnp.zeros((1, d), target.dtype))
    return distance(target, nothing)
