"""Random pairs of a matrix and its perturbation, some of them extremal, and all that moves.

Legend: M (m, d) the matrix, of rank r*, E its perturbation, M = U diag(s) V^T, T_j = s_j - s_{j+1};
K = min(m, d). Quantities of M + E are called `moved`. Norms are Frobenius norms or end in
`_spectral`. The top singular value of M is 1.

Random perturbations alone say little about a bound: they are far from its worst case. A part of
the pairs is therefore built in the singular basis of M at a random index j.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from linear_theory.instances.batching import per_instance
from linear_theory.instances.draws import draw_numbers, log_uniform, mixed_spectrum, pick, unit
from linear_theory.perturbation.theory import spectral_gaps

ROWS, COLUMNS = 7, 6
SHAPES = ("dense", "values", "mixing", "closing", "flat")
# Share of perturbations as large as the matrix, which the statements without a condition allow.
LARGE = 0.08


class Pairs(NamedTuple):
    """matrix and perturbation (trials, m, d), rank r* (trials,)."""

    matrix: jax.Array
    perturbation: jax.Array
    rank: jax.Array


class Comparison(NamedTuple):
    """What a pair looks like before and after; leading axis trials, then r = 1, ..., K.

    values, moved_values: singular values of M and M + E. norm, norm_spectral: of E, (trials, 1).
    error, error_spectral: of the truncated M + E against M. shift: truncated M + E against
    truncated M. sines: (||sin Theta_U||^2 + ||sin Theta_V||^2)^{1/2} of the top r spaces.
    residual: (||E V_r||^2 + ||E^T U_r||^2)^{1/2}; moved_residual: with the top pair of M + E,
    (trials, 1). eigenvalues, moved_eigenvalues, eigen_sines, eigen_residual: the same for the
    symmetric matrices M^T M and (M + E)^T (M + E). rank: r*, (trials, 1).
    """

    values: jax.Array
    moved_values: jax.Array
    norm: jax.Array
    norm_spectral: jax.Array
    error: jax.Array
    error_spectral: jax.Array
    shift: jax.Array
    sines: jax.Array
    residual: jax.Array
    moved_residual: jax.Array
    eigenvalues: jax.Array
    moved_eigenvalues: jax.Array
    eigen_sines: jax.Array
    eigen_residual: jax.Array
    rank: jax.Array


def draw_pairs(key: jax.Array, trials: int, shape: str | None = None) -> Pairs:
    """Pairs (7, 6) of rank 1 to 5; sizes of E are spread from 1e-6 T_j to 3 s_1.

    Args:
      key: a typed JAX key.
      trials: number of pairs.
      shape: one of SHAPES for all perturbations; by default a mixture, with some large ones.

    Raises:
      ValueError: for an unknown shape.

    Example:
      >>> with jax.enable_x64(True):
      ...     draw_pairs(jax.random.key(0), 32).matrix.shape
      (32, 7, 6)
    """
    normal, uniform = draw_numbers(key, trials)
    if shape is not None:
        if shape not in SHAPES:
            raise ValueError(f"shape is {shape!r}; allowed are {SHAPES}")
        # Number 6 picks the shape and number 7 the large perturbations.
        middle = (SHAPES.index(shape) + 0.5) / len(SHAPES)
        uniform = uniform.copy()
        uniform[:, 6:8] = middle, 1
    return _pairs(normal, uniform)


def draw_comparisons(key: jax.Array, trials: int, shape: str | None = None) -> Comparison:
    """The `Comparison` of random pairs: the instances of most perturbation claims.

    Example:
      >>> with jax.enable_x64(True):
      ...     draw_comparisons(jax.random.key(0), 32).values.shape
      (32, 6)
    """
    return compare(draw_pairs(key, trials, shape))


def compare(pairs: Pairs) -> Comparison:
    """Measures everything that the perturbation claims speak about, on a batch of pairs.

    Example:
      >>> with jax.enable_x64(True):
      ...     compare(draw_pairs(jax.random.key(0), 32)).shift.shape
      (32, 6)
    """
    return _compare(pairs)


@per_instance
def _pairs(normal: jax.Array, uniform: jax.Array) -> Pairs:
    full = min(ROWS, COLUMNS)
    # 1 + floor(5 u): a rank below K, so that there is a rank above r* as well.
    rank = 1 + ((full - 1) * uniform[0]).astype(int)
    values = jnp.where(jnp.arange(full) < rank, mixed_spectrum(uniform[8:], full), 0)
    sides = normal[: ROWS * full], normal[100 : 100 + COLUMNS * full]
    left = jnp.linalg.qr(sides[0].reshape(ROWS, full))[0]
    right = jnp.linalg.qr(sides[1].reshape(COLUMNS, full))[0]
    dense = normal[200 : 200 + ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    # The top index half of the time: many statements are about the top pair alone.
    j = jnp.where(uniform[1] < 0.5, 0, (rank * uniform[2]).astype(int))
    size = log_uniform(uniform[3], 1e-6, 1.0)
    near, angle = 0.8 + 0.19 * uniform[4], 0.5 * uniform[5]

    def basis(i, k):
        return jnp.outer(left[:, i], right[:, k])

    mixing = basis(j + 1, j) + basis(j, j + 1)
    closing = basis(j + 1, j + 1) - basis(j, j)
    shapes = {
        "dense": size * unit(dense),
        "values": size * unit((left * dense[0]) @ right.T),  # singular vectors stay
        "mixing": size * unit(mixing),  # rotates a pair of singular vectors
        "closing": near * unit(jnp.cos(angle) * closing + jnp.sin(angle) * mixing),  # of T_j
        "flat": size * unit(jnp.roll(left, 1, axis=1) @ right.T),  # all singular values agree
    }
    shape = pick(uniform[6], [shapes[name] for name in SHAPES])
    scaled = spectral_gaps(values)[j] / math.sqrt(2) * shape
    # The part of a uniform number below LARGE is again uniform: 0 to 3 times s_1.
    large = 3 * uniform[7] / LARGE * unit(dense)
    perturbation = jnp.where(uniform[7] < LARGE, large, scaled)
    return Pairs((left * values) @ right.T, perturbation, rank)


@per_instance
def _compare(pairs: Pairs) -> Comparison:
    matrix, change, rank = pairs
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    moved_left, moved_values, moved_right = jnp.linalg.svd(matrix + change, full_matrices=False)
    cut = _truncations(left, values, right)
    moved_cut = _truncations(moved_left, moved_values, moved_right)
    full = len(values)
    sines = jnp.hypot(_sines(left, moved_left, full), _sines(right.T, moved_right.T, full))
    residual = jnp.cumsum(
        jnp.sum((change @ right.T) ** 2, axis=0) + jnp.sum((change.T @ left) ** 2, axis=0)
    )
    gram = matrix.T @ matrix
    moved_gram = (matrix + change).T @ (matrix + change)
    eigenvalues, vectors = _eigh_descending(gram)
    moved_eigenvalues, moved_vectors = _eigh_descending(moved_gram)
    eigen_residual = jnp.cumsum(jnp.sum(((moved_gram - gram) @ vectors) ** 2, axis=0))
    return Comparison(
        values=values,
        moved_values=moved_values,
        norm=jnp.linalg.norm(change)[None],
        norm_spectral=jnp.linalg.norm(change, 2)[None],
        error=jnp.linalg.norm(moved_cut - matrix, axis=(1, 2)),
        error_spectral=jnp.linalg.norm(moved_cut - matrix, 2, axis=(1, 2)),
        shift=jnp.linalg.norm(moved_cut - cut, axis=(1, 2)),
        sines=sines,
        residual=jnp.sqrt(residual),
        moved_residual=jnp.hypot(
            jnp.linalg.norm(change @ moved_right[0]), jnp.linalg.norm(change.T @ moved_left[:, 0])
        )[None],
        eigenvalues=eigenvalues,
        moved_eigenvalues=moved_eigenvalues,
        eigen_sines=_sines(vectors, moved_vectors, full),
        eigen_residual=jnp.sqrt(eigen_residual),
        rank=rank[None],
    )


def _truncations(left, values, right) -> jax.Array:
    """All best approximations (K, m, d), of rank 1 to K."""
    return jnp.cumsum(jnp.einsum("mk,k,kd->kmd", left, values, right), axis=0)


def _sines(basis, moved_basis, count: int) -> jax.Array:
    """||sin Theta|| of the spans of the first r columns, r = 1..count.

    From the part of the moved basis outside the first one: 1 - cos^2 would lose half the digits.
    """

    def sine_norm(r):
        leading = jnp.arange(basis.shape[1]) < r
        old, new = basis * leading, moved_basis * leading
        return jnp.linalg.norm(new - old @ (old.T @ new))

    return jax.vmap(sine_norm)(jnp.arange(1, count + 1))


def _eigh_descending(matrix):
    eigenvalues, vectors = jnp.linalg.eigh(matrix)
    return eigenvalues[::-1], vectors[:, ::-1]
