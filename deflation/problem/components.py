"""Sums of rank-one maps, and the algebra that never forms their (m, d) product.

Legend: b (r, m) left factors, a (r, d) right factors; component k is the map b_k a_k^T.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rankwise import checks


class Components(NamedTuple):
    """W = sum_k b_k a_k^T, largest component first; any prefix is a valid smaller model.

    Attributes:
      b: left factors, shape (r, m). In a solution b_k carries the scale.
      a: right factors, shape (r, d), in the coordinates of the inputs X.

    Example:
      >>> import jax.numpy as jnp
      >>> c = Components(b=jnp.ones((2, 3)), a=jnp.ones((2, 4)))
      >>> c.matrix().shape, c.prefix(1).matrix().shape, c.predict(jnp.ones((4, 5))).shape
      ((3, 4), (3, 4), (3, 5))
    """

    b: jax.Array
    a: jax.Array

    def matrix(self) -> jax.Array:
        """The dense (m, d) map."""
        return product(self.b.T, self.a)

    def predict(self, x: jax.Array) -> jax.Array:
        """W x for x of shape (d, n); costs O((m + d) n r), the dense map is not formed.

        Raises:
          ValueError: x of other rows.
        """
        if np.shape(x)[:1] != self.a.shape[1:]:
            raise ValueError(f"x has shape {np.shape(x)}; allowed are {self.a.shape[1]} rows")
        return product(self.b.T, product(self.a, jnp.asarray(x)))

    def prefix(self, rank: int) -> Components:
        """The model of the first `rank` components.

        Raises:
          ValueError: rank outside 0..r.
        """
        rank = checks.integer("rank", rank, 0, self.b.shape[0])
        return Components(self.b[:rank], self.a[:rank])


def product(left: jax.Array, right: jax.Array, xp=jnp) -> jax.Array:
    """left @ right at full precision: accelerators round float32 products to fewer bits by default,
    and a deflated product is a difference in which those bits are what is left."""
    if xp is np:
        return left @ right
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def product_transposed(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    """rows @ matrix.T, (K, d) and (m, d) to (K, m), for few rows and a large matrix.

    The same sums as `product`. XLA's product for CPUs is at its slowest where the matrix is the one
    that is transposed (half the rate at K = 16), so that there (matrix @ rows.T).T is asked for;
    the barriers keep the compiler from turning one form into the other.
    """

    def by_columns(rows, matrix):
        columns = jax.lax.optimization_barrier(rows.T)
        return jax.lax.optimization_barrier(product(matrix, columns)).T

    def by_rows(rows, matrix):
        return product(rows, matrix.T)

    return jax.lax.platform_dependent(rows, matrix, cpu=by_columns, default=by_rows)


def frobenius(array, xp=jnp):
    """||array||_F at any scale, by numpy or jax.numpy; its derivative at zero is zero."""
    largest = xp.max(xp.abs(array))
    scale = xp.where(largest > 0, largest, 1)
    if xp is jnp:
        scale = jax.lax.stop_gradient(scale)  # the value does not depend on it
    square = xp.sum((array / scale) ** 2)
    positive = square > 0
    return xp.where(positive, scale * xp.sqrt(xp.where(positive, square, 1)), square)


def row_norm(rows: jax.Array, xp=jnp) -> jax.Array:
    """Norm of every row, shape (r, 1), at any scale: squares of float32 leave its range early."""
    if xp is np and rows.dtype == np.float32:
        wide = rows.astype(np.float64)  # whose range holds their squares
        return np.sqrt(np.einsum("...i,...i", wide, wide)).astype(np.float32)[..., None]
    largest = _largest(rows, xp)
    return largest * xp.linalg.norm(rows / largest, axis=-1, keepdims=True)


def normalise(rows: jax.Array, xp=jnp) -> jax.Array:
    """Unit rows; a zero row stays zero."""
    if xp is np and rows.dtype == np.float32:
        norm = row_norm(rows, np)
        if np.all(norm > np.finfo(np.float32).tiny):
            return rows / norm
    rows = rows / _largest(rows, xp)
    norm = xp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / xp.where(norm > 0, norm, 1)


def _largest(rows: jax.Array, xp=jnp) -> jax.Array:
    """Largest magnitude of every row, 1 for a zero row."""
    largest = xp.max(xp.abs(rows), axis=-1, keepdims=True)
    return xp.where(largest > 0, largest, 1)


def generic(shape: tuple[int, ...], dtype, xp=jnp) -> jax.Array:
    """Numbers in [-1, 1) without a pattern, the same ones every time, for a direction that is near
    no other by accident.

    A hash of their positions: `jax.random` takes a hundred operations to draw what is fixed anyway,
    and a quarter of the time to compile the rounds of a run.

    Source: the finaliser of MurmurHash3 (Appleby, 2011).

    Example:
      >>> x = generic((1000,), jnp.float32)
      >>> float(jnp.max(jnp.abs(x))) <= 1, abs(float(jnp.mean(x))) < 0.1
      (True, True)
    """
    bits = xp.arange(math.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B9)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    signed = bits.view(np.int32)
    return (signed.astype(dtype) * 2.0**-31).reshape(shape)


def norms(components: Components, xp=jnp) -> jax.Array:
    """||b_k a_k^T||_F = |b_k| |a_k|, shape (r,), by numpy or jax.numpy."""
    return (row_norm(components.b, xp) * row_norm(components.a, xp))[:, 0]


def distances(left: Components, right: Components, xp=jnp) -> jax.Array:
    """||b_k a_k^T - b'_k a'_k^T||_F for every k, shape (r,), without cancellation.

    Both are first brought to |a| = 1 with aligned signs; then with p = b - b', q = a - a' the
    difference is p a^T + b' q^T, whose squared norm is |p|^2 + |b'|^2 |q|^2 + 2 (p.b')(a.q).
    """
    b, a = _unit_right(left, xp)
    b_, a_ = _unit_right(right, xp)
    scale = xp.maximum(_largest(b, xp), _largest(b_, xp))
    b, b_ = b / scale, b_ / scale
    sign = xp.where(xp.sum(a * a_, axis=1, keepdims=True) < 0, -1, 1).astype(a.dtype)
    p, q = b - sign * b_, a - sign * a_
    # |a| = 1 and a.q = |q|^2 / 2 hold for unit vectors; the latter form loses no digits.
    square_p, square_q = xp.sum(p * p, axis=1), xp.sum(q * q, axis=1)
    cross = xp.sum(p * sign * b_, axis=1) * square_q
    square = square_p + xp.sum(b_ * b_, axis=1) * square_q + cross
    return scale[:, 0] * xp.sqrt(xp.maximum(square, 0))


def canonical(components: Components, xp=jnp) -> Components:
    """The same maps with |a_k| = 1 and the largest-magnitude entry of b_k positive."""
    b, a = _unit_right(components, xp)
    if xp is np:  # where argmax is fast
        peak = b[np.arange(len(b)), np.argmax(np.abs(b), axis=1)]
        sign = np.where(peak < 0, -1, 1).astype(b.dtype)[:, None]
        return Components(sign * b, sign * a)
    size, column = jnp.abs(b), jax.lax.broadcasted_iota(jnp.int32, b.shape, 1)
    # The first largest entry, as argmax finds it, which on a CPU takes seven times as long.
    peak = size == jnp.max(size, axis=1, keepdims=True)
    first = jnp.min(jnp.where(peak, column, b.shape[1] - 1), axis=1, keepdims=True)
    sign = jnp.where(jnp.take_along_axis(b, first, axis=1) < 0, -1, 1).astype(b.dtype)
    return Components(sign * b, sign * a)


def balanced(components: Components) -> Components:
    """The same maps with |b_k| = |a_k|; a component whose product is zero is left as it is."""
    norm_b, norm_a = row_norm(components.b), row_norm(components.a)
    nonzero = (norm_b > 0) & (norm_a > 0)
    # Not the root of a ratio, which may leave the range of the dtype.
    ratio = jnp.sqrt(jnp.where(nonzero, norm_a, 1)) / jnp.sqrt(jnp.where(nonzero, norm_b, 1))
    return Components(components.b * ratio, components.a / ratio)


def _unit_right(components: Components, xp=jnp) -> Components:
    return Components(components.b * row_norm(components.a, xp), normalise(components.a, xp))
