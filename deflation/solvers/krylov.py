"""The Krylov solver: a worker's best direction among all that a round's products have met.

Legend: K workers of a block, each with its deflated target M_k (m, d), S_k = M_k^T M_k; `depth` q
rows per worker, a basis V (K, q, d) of span{a, S a, ..., S^{q-1} a} and images P_i = M_k v_i
(K, q, m).

Power iteration keeps one vector of that span, S^{q-1} a, and so uses the one polynomial x^{q-1};
momentum, shifts and Chebyshev steps use other polynomials of the same degree. The best vector of
the span is at least as good as any of them and costs no product more: its coefficients are the
leading eigenvector of the q x q matrix P P^T, and its image is the same combination of the images.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, normalise, product, row_norm
from deflation.problem.regression import Regression
from deflation.solvers.solver import Solver, away_from_published
from rankwise import checks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Krylov(Solver):
    """See `krylov`."""

    depth: int = dataclasses.field(default=4, metadata={"static": True})

    def local(self, problem: Regression, view, own: Components) -> Components:
        """a <- argmax |M_k a| over the unit vectors of the Krylov space of a, b <- M_k a."""
        del problem
        a, b = away_from_published(view, normalise(own.a))
        return _best(Components(b, a), *_space(view, a, b, self.depth))


def _space(view, a: jax.Array, b: jax.Array, depth: int) -> tuple[jax.Array, jax.Array]:
    """Basis (K, q, d) and images (K, q, m), zero in the rows by which the space does not grow."""
    # From a and b rather than from zeros, so that inside a shard_map they vary as those do.
    first = jnp.arange(depth)[:, None] == 0
    basis, images = (jnp.where(first, rows[:, None], 0) for rows in (a, b))
    eps = jnp.finfo(a.dtype).eps

    def extend(i, carry):
        basis, images, last = carry
        # Of a unit vector: powers of M_k would leave the range of the dtype.
        image = view.transposed(normalise(last))
        # Twice is enough: the second time only rounding is projected off.
        row = _off(_off(image, basis), basis)
        # What is left of a projection by rounding alone is no direction. The bound is that low as
        # a direction that is noise does no harm: its share of the answer is at rounding as well.
        new = row_norm(row) > eps * row_norm(image)
        row = jnp.where(new, normalise(row), 0)
        last = view.times(row)
        basis = jax.lax.dynamic_update_index_in_dim(basis, row, i, axis=1)
        images = jax.lax.dynamic_update_index_in_dim(images, last, i, axis=1)
        return basis, images, last

    return jax.lax.fori_loop(1, depth, extend, (basis, images, b))[:2]


def _off(rows: jax.Array, basis: jax.Array) -> jax.Array:
    """What is left of rows (K, d) off their bases (K, q, d)."""
    overlap = product(basis, rows[:, :, None])
    return rows - product(jnp.swapaxes(basis, 1, 2), overlap)[:, :, 0]


def _best(own: Components, basis: jax.Array, images: jax.Array) -> Components:
    """The direction of the basis with the largest image; `own` where there is no image at all."""
    largest = jnp.max(jnp.abs(images), axis=(1, 2), keepdims=True)
    scaled = images / jnp.where(largest > 0, largest, 1)
    leading = _leading(product(scaled, jnp.swapaxes(scaled, 1, 2)))
    # The sign by which a turns least: rounding must not choose it.
    leading = jnp.where(leading[:, :1] < 0, -leading, leading)
    b, a = (product(leading[:, None], rows)[:, 0] for rows in (images, basis))
    nothing = largest[:, 0] == 0
    norm = jnp.where(nothing, 1, row_norm(a))  # 1 up to rounding
    return Components(jnp.where(nothing, own.b, b / norm), jnp.where(nothing, own.a, a / norm))


def _leading(gram: jax.Array) -> jax.Array:
    """Unit leading eigenvectors (K, q) of positive semidefinite matrices; zero for zero ones.

    By squaring until the second eigenvalue is gone, even one that is next to the first by rounding.
    The errors of the squarings add up to eps over the gap, as in a factorisation. That is not
    `eigh` because several devices of a CPU would each ask for a batch of factorisations, which in
    jaxlib 0.10.2 can wait for each other's threads for ever (512 workers, depth 8, two devices).
    """

    def square(_, power):
        trace = jnp.trace(power, axis1=1, axis2=2)[:, None, None]
        power = power / jnp.where(trace > 0, trace, 1)
        return product(power, power)

    power = jax.lax.fori_loop(0, jnp.finfo(gram.dtype).nmant + 5, square, gram)
    # Every column is a multiple of the eigenvector; the one of the largest entry has most digits.
    column = jnp.argmax(jnp.diagonal(power, axis1=1, axis2=2), axis=1)
    return normalise(jnp.take_along_axis(power, column[:, None, None], axis=2)[:, :, 0])


def krylov(depth: int = 4) -> Krylov:
    """Rayleigh-Ritz in a small Krylov space: max |M_k a| over a in span{a', S a', ..., S^{q-1} a'}.

    a' is the worker's last direction, S = M_k^T M_k, q the depth. A round costs q products with M
    and q - 1 with M^T, as one of `alternating(sweeps=q - 1)`, whose new direction lies in the same
    span, and K q (m + d) numbers of memory for K workers of a block. Behind exact predecessors
    worker k contracts by 1 / T_{q-1}(1 + 2 g), T Chebyshev's polynomial, g = (s_k/s_{k+1})^2 - 1,
    instead of (s_{k+1}/s_k)^(2 (q - 1)): for narrow gaps 1 - 2 (q - 1)^2 g, not 1 - (q - 1) g.

    It helps where single components with narrow gaps are wanted, in a sequential run or from a
    sketch; there depth 6 to 8 needs fewest products. It does not where the sum is enough (sweeps
    find the leading space as soon or sooner, without telling its directions apart), nor in a cold
    staggered run, which takes a round per worker however deep the rounds are.

    Args:
      depth: vectors of the space, at least 1; 1 leaves a as it is. Directions that are none (the
        space is exhausted: q > d, M_k of low rank, a converged worker) are left out.

    Raises:
      ValueError: depth < 1 or not an integer.

    Source: Saad (1980), on the rates of Lanczos methods; what a round contracts, and by how much,
    is proved in linear_theory/parallel/krylov/theory.py.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, parallel
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> solution = parallel(problem, 2, krylov(depth=3), rounds=4)
      >>> [round(float(s), 4) for s in solution.history.size[-1]]
      [4.0, 2.0]
    """
    return Krylov(checks.integer("depth", depth, 1))
