"""Best approximation of rank r: its error, and how it moves when the matrix is perturbed.

Legend: M (m, d) a matrix, E its perturbation, eta = ||E||_2, K = min(m, d); s_1 >= ... >= s_K the
singular values of M and s_{K+1} = 0; T_r = s_r - s_{r+1}; M_(r) the best approximation of rank r,
tau_r its Frobenius error, r* the rank of M; ||.|| is the Frobenius norm.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import as_spectrum, gap_ratio


@jax.jit
def tail_norm(singular_values: jax.Array) -> jax.Array:
    """Eckart-Young-Mirsky error tau_r = (sum_{i > r} s_i^2)^{1/2} for r = 0, ..., K.

    Takes (..., K), returns (..., K + 1) in the same unit; entry 0 is ||M||, the last is 0.
    Raises ValueError for an empty spectrum. Source: Mirsky 1960, theorem 2.

    Example:
      >>> tail_norm(jnp.array([12.0, 4.0, 3.0])).tolist()
      [13.0, 5.0, 3.0, 0.0]
    """
    values = as_spectrum(singular_values)
    squares = jnp.cumsum(values[..., ::-1] ** 2, axis=-1)[..., ::-1]
    return jnp.sqrt(jnp.concatenate([squares, jnp.zeros_like(squares[..., :1])], axis=-1))


def truncate(matrix: jax.Array, rank: int) -> jax.Array:
    """Best approximation M_(r) = argmin_{rank N <= r} ||M - N||, the truncated SVD.

    Args:
      matrix: (..., m, d).
      rank: r, from 0 to min(m, d).

    Returns:
      (..., m, d), same dtype. With a tie at rank r, one of the minimisers.

    Raises:
      ValueError: for a rank outside that range.

    Source: Eckart and Young 1936; Mirsky 1960 for every unitarily invariant norm.

    Example:
      >>> truncate(jnp.diag(jnp.array([3.0, 2.0])), 1).tolist()
      [[3.0, 0.0], [0.0, 0.0]]
    """
    limit = min(matrix.shape[-2:])
    if not 0 <= rank <= limit:
        raise ValueError(f"rank is {rank}; allowed are integers from 0 to min(m, d) = {limit}")
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    return (left[..., :rank] * values[..., None, :rank]) @ right[..., :rank, :]


@jax.jit
def truncation_bound_below_rank(singular_values: jax.Array, noise_norm: jax.Array) -> jax.Array:
    """||(M + E)_(r) - M_(r)|| <= sqrt(r) (3 + 4 s_{r+1}/T_r) eta, r <= rank M and eta <= T_r/2.

    Proof: with P, P* the projectors on the top r left spaces of M + E and M, Q = I - P:
    (M + E)_(r) - M_(r) = P E + P (I - P*) M - Q P* M. The three norms are at most sqrt(r) eta,
    s_{r+1} ||sin Theta_U|| and s_{r+1}(M + E) ||sin Theta_V|| + sqrt(r) eta; by Wedin each sine is
    at most 2 sqrt(r) eta/T_r, and s_{r+1}(M + E) <= s_{r+1} + T_r/2.

    Args:
      singular_values: (..., K), of M.
      noise_norm: eta, broadcasting against (..., K), in the same unit.

    Returns:
      (..., K), entry r - 1 for rank r; +inf at a zero gap.

    Raises:
      ValueError: for an empty spectrum.

    Source: arXiv 2505.22602, lemma 4, first case; the constants are proved above.

    Example:
      >>> float(truncation_bound_below_rank(jnp.array([3.0, 2.0]), 0.5)[0])
      5.5
    """
    values = as_spectrum(singular_values)
    ranks = jnp.arange(1, values.shape[-1] + 1, dtype=values.dtype)
    # s_{r+1}/T_r = s_r/T_r - 1.
    factor = jnp.sqrt(ranks) * (4 * gap_ratio(values) - 1)
    # A zero gap leaves M_(r) undetermined even without noise: inf, where inf * 0 is NaN.
    return jnp.where(jnp.isposinf(factor), jnp.inf, factor * noise_norm)


@jax.jit
def truncation_bound_above_rank(
    rank: jax.Array, true_rank: jax.Array, noise_norm: jax.Array
) -> jax.Array:
    """||(M + E)_(r) - M|| <= 2 sqrt(r + r*) eta for r > r* = rank M, with no gap.

    Proof: the difference has rank at most r + r* and spectral norm at most s_{r+1}(M + E) + eta,
    which Weyl bounds by 2 eta.

    Broadcasts; the unit and dtype are those of noise_norm. It raises nothing.
    Source: arXiv 2505.22602, lemma 4, second case; the constant is proved above.

    Example:
      >>> float(truncation_bound_above_rank(3, 1, 0.5))
      2.0
    """
    return 2 * jnp.sqrt(jnp.asarray(rank + true_rank, jnp.result_type(float))) * noise_norm


@jax.jit
def truncation_bound_gap_free(
    singular_values: jax.Array, true_rank: jax.Array, noise_norm: jax.Array
) -> jax.Array:
    """||M - (M + E)_(r)|| <= tau_r(M) + (sqrt(r) + 2 sqrt(r*)) eta for every r, with no gap.

    Proof: with P the projector on the top r left space of M + E and Q = I - P the difference is
    Q M - P E, and s_i(Q M) <= s_{r+i}(M + E) + eta <= s_{r+i}(M) + 2 eta for i <= r* = rank M.

    Args:
      singular_values: (..., K), of M.
      true_rank: r*, broadcasting against (..., K + 1).
      noise_norm: eta, broadcasting against (..., K + 1), in the unit of the singular values.

    Returns:
      (..., K + 1), entry r for rank r.

    Raises:
      ValueError: for an empty spectrum.

    Example:
      >>> truncation_bound_gap_free(jnp.array([4.0, 3.0]), 2, 0.0).tolist()
      [5.0, 3.0, 0.0]
    """
    tail = tail_norm(singular_values)
    ranks = jnp.arange(tail.shape[-1], dtype=tail.dtype)
    true_rank = jnp.asarray(true_rank, tail.dtype)
    return tail + (jnp.sqrt(ranks) + 2 * jnp.sqrt(true_rank)) * noise_norm
