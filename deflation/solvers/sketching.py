"""A randomised start: approximate leading components of M from a small block Krylov basis.

Legend: M (m, d), `size` basis rows V (size, d) in blocks of `width`, images P = V M^T (size, m).

A narrow block multiplied often finds far more than a wide one multiplied seldom: the span of all
blocks holds every polynomial of that degree in M^T M applied to the first one, so that the best of
them (Chebyshev's, roughly) is found without being named. All products are with blocks of vectors,
which is where the time of a one-vector Lanczos method goes.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, product, product_transposed, row_norm
from deflation.problem.targets import Target, times, times_transposed
from deflation.solvers.triangles import lower_inverse
from rankwise import checks

WIDTH = 16  # vectors of a block: fewer are slow to multiply, more leave less depth
DEPTH = 4  # the least number of blocks: fewer are no iteration


@dataclasses.dataclass(frozen=True)
class Sketch:
    """First factors from `size` random directions that were multiplied by M and M^T.

    min ||M - M V^T V||_F over bases V of the block Krylov space of M^T M; then the exact leading
    components of M V^T V (Rayleigh-Ritz), already ordered. About 2 size columns of products with M,
    4 size^2 d for orthogonality, 2 size^2 m for the triangle of a QR factorisation and its size x
    size singular value decomposition.

    Attributes:
      size: dimensions of the basis, at least the rank; 2 rank + 16 when None. Larger is more
        accurate. Never more than min(m, d).
      width: vectors per block; 16 when None, less where `size` is small.

    Works in the dtype of the problem, for operators by products alone. Directions that a block
    does not add (M of low rank, or equal singular values) are replaced by fresh random ones, so
    that the basis stays orthonormal.

    Raises:
      ValueError: size or width not an integer >= 1; at the start of a run, size < rank.

    Source: Musco and Musco (2015), block Krylov iteration; Halko, Martinsson and Tropp (2011).

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, Sketch, start
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> state = start(problem, 2, init=Sketch(size=3))
      >>> [round(float(size), 3) for size in jnp.linalg.norm(state.progress.factors.b, axis=1)]
      [4.0, 2.0]
    """

    size: int | None = None
    width: int | None = None

    def __post_init__(self):
        for name in ("size", "width"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), 1)

    def shape(self, rank: int, limit: int) -> tuple[int, int, int]:
        """(size, width, depth) of the basis for a rank, at most `limit` = min(m, d) directions."""
        size = 2 * rank + WIDTH if self.size is None else self.size
        checks.integer("size", size, rank, why=f" (the rank is {rank})")
        size = min(size, limit)
        if self.width is None:
            depth = max(-(-size // WIDTH), min(DEPTH, size))
        else:
            depth = -(-size // self.width)
        return size, -(-size // depth), depth


def sketch(target: Target, rank: int, key: jax.Array, how: Sketch) -> Components:
    """The first factors of a run, largest first."""
    return _sketch(target, key, rank, *how.shape(rank, min(target.shape)))


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _sketch(target, key, rank, size, width, depth) -> Components:
    m, d = target.shape
    first, key = jax.random.split(key)
    probe = jax.random.normal(first, (width, m), target.dtype)
    padded = width * depth
    basis = jnp.zeros((padded, d), target.dtype)
    images = jnp.zeros((padded, m), target.dtype)

    def extend(number, carry):
        basis, images, last = carry
        block = times_transposed(target, last)
        block = _new_directions(block, basis, jax.random.fold_in(key, number))
        image = times(target, block)
        place = (number * width, 0)
        basis = jax.lax.dynamic_update_slice(basis, block, place)
        images = jax.lax.dynamic_update_slice(images, image, place)
        # Only its directions matter; unscaled, powers of M would leave the range of the dtype.
        return basis, images, image / _scale(image)

    basis, images, _ = jax.lax.fori_loop(0, depth, extend, (basis, images, probe))
    return _ritz(basis[:size], images[:size], rank)


def _new_directions(block, basis, key):
    """Orthonormal rows that span `block` off `basis` (zero rows of it are free places).

    What projecting leaves of a row that the basis or the rows before it already span is rounding.
    Such a row is replaced by a random one: scaled up, rounding would not be orthogonal to anything.
    """
    eps, largest = jnp.finfo(block.dtype).eps, jnp.max(row_norm(block))
    rows, left, floor = _orthonormal(block, basis)
    known = left <= jnp.maximum(64 * eps * largest, floor)
    # Rows of which little is new are scaled up and rounding with them: two passes more take it off.
    little = left <= eps**0.25 * largest

    def replaced(rows):
        fresh = jax.random.normal(key, rows.shape, rows.dtype) / rows.shape[1] ** 0.5
        rows = _orthonormal(jnp.where(known[:, None], fresh, rows), basis)[0]
        # Once more: where few directions are left, random ones may nearly depend on each other.
        return _orthonormal(rows, basis)[0]

    rows = jax.lax.cond(jnp.any(known | little), replaced, lambda rows: rows, rows)
    # Twice is enough: the second time only rounding is projected off.
    return _orthonormal(rows, basis)[0]


def _orthonormal(rows, basis):
    """Orthonormal rows of the span off the basis, how much of each row was new, and the least that
    can be told from nothing.

    By Cholesky, L L^T = rows rows^T, which is products and one small triangle. The shift keeps it
    from breaking down on dependent rows; orthogonality to rounding takes a second call.
    """
    scale = _scale(rows)
    rows = (rows - product(product_transposed(rows, basis), basis)) / scale
    gram = product(rows, rows.T)
    tiny = jnp.finfo(rows.dtype).tiny
    shift = 4 * jnp.finfo(rows.dtype).eps * jnp.max(jnp.diagonal(gram)) + tiny
    triangle = jnp.linalg.cholesky(gram + shift * jnp.eye(rows.shape[0], dtype=rows.dtype))
    rows = product(lower_inverse(triangle), rows)
    return rows, scale * jnp.diagonal(triangle), scale * 2 * jnp.sqrt(shift)


def _scale(rows):
    largest = jnp.max(jnp.abs(rows))
    return jnp.where(largest > 0, largest, 1)


def _ritz(basis, images, rank) -> Components:
    """The leading components of M V^T V = P^T V, for orthonormal V: P^T = Q R, R = U S W^T has the
    right factors W^T V, and the left ones are their images W^T P. Q is never formed."""
    right = jnp.linalg.svd(jnp.linalg.qr(images.T, mode="r"), full_matrices=False)[2][:rank]
    return Components(product(right, images), product(right, basis))
