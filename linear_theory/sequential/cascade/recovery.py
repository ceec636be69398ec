"""How far the recovered map and its components are from the truth, without and with noise.

Legend: Y = W X + E with W (m, d) of rank r*, X (d, n) of full row rank, smallest and largest
singular value smallest, largest; s_k the singular values of the fitted target (W X, or Y P_X where
a docstring says so), T_k = s_k - s_{k+1}; psi_k the errors of the rank-one steps in output space,
E(k) their accumulation (see `cascade.accumulated_error`); W_r = sum_{k<=r} b_k a_k^T the recovered
map; tau_r(M) the Frobenius tail of M. Norms are Frobenius norms.

Bounds on the sum come for all numbers of components at once, entry r of the last axis, r = 0..R.
Arrays of the last axis broadcast against (..., 1) arrays in front; the dtype is kept; a zero gap
gives +inf. ValueError comes for an empty spectrum or more errors than singular values.
Source: arXiv 2505.22602; constants that it leaves open are proved here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import as_spectrum, gap_ratio, rank_one_source_constant
from linear_theory.perturbation.truncation import tail_norm, truncation_bound_below_rank
from linear_theory.sequential.cascade import theory as cascade


@jax.jit
def component_bound(singular_values: jax.Array, errors: jax.Array, smallest) -> jax.Array:
    """||b_k a_k^T - b*_k a*_k^T|| <= (psi_k + (1 + 6 s_k/T_k) E(k)) / smallest, noiseless.

    Proof: ||M X|| >= smallest ||M||, then lemma 3 on Y_k against Y*_k.

    Args:
      singular_values: (..., K), of W X.
      errors: psi_k, (..., R), same unit.
      smallest: smallest singular value of X, broadcasting against (..., R).

    Returns:
      (..., R), in the unit of W.

    Source: theorem 2, equation (10).

    Example:
      >>> component_bound(jnp.array([2.0, 1.0]), jnp.array([1.0, 1.0]), 0.5).round().tolist()
      [2.0, 16.0]
    """
    before = cascade.accumulated_error(singular_values, errors)[..., :-1]
    constant = rank_one_source_constant(singular_values)[..., : before.shape[-1]]
    # 0 times inf: see `cascade.log_recurrence_bound`.
    moved = jnp.where(jnp.isposinf(constant), jnp.inf, constant * before)
    return (errors + moved) / smallest


@jax.jit
def map_bound(
    map_singular_values: jax.Array, singular_values: jax.Array, errors: jax.Array, smallest, largest
) -> jax.Array:
    """||W - W_r|| <= kappa(X) tau_r(W) + sum_{k<=r} sum_{i<=k} psi_i prod rho_j / smallest.

    Proof: ||M X|| >= smallest ||M||, theorem 4, and tau_r(W X) <= largest tau_r(W).

    Args:
      map_singular_values: (..., K), of W.
      singular_values: (..., K), of W X.
      errors: psi_k, (..., R).
      smallest, largest: extreme singular values of X, broadcasting against (..., R + 1).

    Returns:
      (..., R + 1), in the unit of W.

    Source: theorem 2, equation (11).

    Example:
      >>> values = jnp.array([4.0, 3.0])
      >>> map_bound(values, values, jnp.array([1.0, 0.0]), 1.0, 2.0).round().tolist()
      [10.0, 7.0, 9.0]
    """
    double = cascade.training_bound_double(singular_values, errors)
    count = double.shape[-1]
    added = double - tail_norm(singular_values)[..., :count]
    return largest / smallest * tail_norm(map_singular_values)[..., :count] + added / smallest


@jax.jit
def map_bound_single(singular_values: jax.Array, errors: jax.Array, smallest) -> jax.Array:
    """||W - W_r|| <= (tau_r(W X) + E(r + 1)) / smallest, sharper than `map_bound` in both terms.

    Takes singular values of W X (..., K), errors (..., R) and smallest; returns (..., R + 1).
    Source: theorem 2, with theorem 1 in place of theorem 4 and tau_r(W X) kept.

    Example:
      >>> map_bound_single(jnp.array([4.0, 3.0]), jnp.array([1.0, 0.0]), 0.5).round().tolist()
      [10.0, 8.0, 16.0]
    """
    return cascade.training_bound_single(singular_values, errors) / smallest


@jax.jit
def map_bound_gap_free(singular_values: jax.Array, errors: jax.Array, smallest) -> jax.Array:
    """||W - W_r|| <= (tau_r(W X) + sum_{k<=r} psi_k) / smallest, for any spectrum.

    Takes singular values of W X (..., K), errors (..., R) and smallest; returns (..., R + 1).
    Source: theorem 2 with `cascade.training_bound_gap_free` in place of theorem 4.

    Example:
      >>> map_bound_gap_free(jnp.array([4.0, 3.0]), jnp.array([1.0, 0.5]), 0.5).tolist()
      [10.0, 8.0, 3.0]
    """
    return cascade.training_bound_gap_free(singular_values, errors) / smallest


def noise_radius(rows: int, columns: int, std, miss) -> jax.Array:
    """||E||_2 <= std (sqrt(p) + sqrt(q) + sqrt(2 ln(1/miss))), E (p, q) Gaussian.

    It holds with probability at least 1 - miss. E P_X acts as an (m, d) matrix, whatever n is.

    Args:
      rows, columns: p and q; for E P_X they are m and d.
      std: standard deviation of an entry.
      miss: probability in (0, 1]; std and miss broadcast.

    Raises:
      ValueError: for rows or columns below 1.

    Source: arXiv 2505.22602, lemma 6; Davidson and Szarek 2001, theorem II.13.

    Example:
      >>> float(noise_radius(4, 9, std=2.0, miss=1.0))
      10.0
    """
    _check_shape(rows, columns)
    return std * (rows**0.5 + columns**0.5 + jnp.sqrt(-2 * jnp.log(miss)))


def noise_radius_frobenius(rows: int, columns: int, std, miss) -> jax.Array:
    """||E|| <= std (sqrt(p q) + sqrt(2 ln(1/miss))) with probability at least 1 - miss.

    Arguments, errors and source as in `noise_radius`. Proof: the norm is 1-Lipschitz and its mean
    is at most std sqrt(p q); Gaussian concentration.

    Example:
      >>> float(noise_radius_frobenius(4, 9, std=2.0, miss=1.0))
      12.0
    """
    _check_shape(rows, columns)
    return std * ((rows * columns) ** 0.5 + jnp.sqrt(-2 * jnp.log(miss)))


@jax.jit
def noisy_map_bound(
    map_singular_values: jax.Array,
    singular_values: jax.Array,
    errors: jax.Array,
    smallest,
    largest,
    noise_norm,
) -> jax.Array:
    """||W - W_r|| <= kappa tau_r(W) + (sum sum psi_i prod q_j + sqrt(r) (3 + 4 s_{r+1}/T_r) eta)/s.

    Here kappa = largest/smallest, s = smallest, q_j = 5 + 12 s_j/T_j, and eta bounds ||E P_X||_2.
    It needs eta <= T_k/4 for all k <= r*, and r <= r*.
    Proof: by Weyl s_j(Y P_X) <= s_j + T_j/4 with gaps of at least T_j/2, so that rho_j of Y P_X is
    at most q_j; add lemma 4 for the truncation of W X against that of Y P_X.

    Args:
      map_singular_values: (..., K), of W.
      singular_values: (..., K), of W X.
      errors: psi_k, (..., R).
      smallest, largest: extreme singular values of X, (..., 1) or scalars.
      noise_norm: eta, (..., 1) or a scalar; `noise_radius` gives it with probability 1 - miss.

    Returns:
      (..., R + 1), in the unit of W.

    Source: theorem 3; the constants are proved above.

    Example:
      >>> values = jnp.array([4.0, 3.0])
      >>> noisy_map_bound(values, values, jnp.zeros(2), 1.0, 1.0, 0.1).round(1)[0].item()
      5.0
    """
    values = as_spectrum(singular_values)
    count = errors.shape[-1] + 1
    doubled = cascade.recurrence_bound(5 + 12 * gap_ratio(values)[..., : count - 1], errors)
    moved = truncation_bound_below_rank(values, noise_norm)[..., : count - 1]
    moved = jnp.concatenate([jnp.zeros_like(moved[..., :1]), moved], axis=-1)
    tail = tail_norm(map_singular_values)[..., :count]
    return largest / smallest * tail + (jnp.cumsum(doubled, axis=-1) + moved) / smallest


@jax.jit
def noisy_map_bound_gap_free(
    singular_values: jax.Array, errors: jax.Array, smallest, true_rank, noise_norm
) -> jax.Array:
    """||W - W_r|| <= (tau_r(W X) + sum_{k<=r} psi_k + 2 sqrt(r + r*) eta) / smallest, no condition.

    Any r, any noise with ||E P_X||_2 <= eta, any spectrum; the b_k a_k^T have rank one. The tail
    falls in r and the noise term grows: bias against variance.
    Proof: let q = r + r* and |M|_q = (sum_{i<=q} s_i(M)^2)^{1/2}, a norm. W X - W_r X has rank at
    most q, so its Frobenius norm is at most |Y_{r+1} P_X|_q + |E P_X|_q, the last of which is at
    most sqrt(q) eta. The proof of `cascade.training_bound_gap_free` in the norm |.|_q bounds the
    first by (sum_{r<i<=r+q} s_i(Y P_X)^2)^{1/2} + sum psi_k, and s_i(Y P_X) <= s_i(W X) + eta.

    Args:
      singular_values: (..., K), of W X.
      errors: psi_k, (..., R).
      smallest: smallest singular value of X, (..., 1) or a scalar.
      true_rank: r*, (..., 1) or a scalar.
      noise_norm: eta, (..., 1) or a scalar.

    Returns:
      (..., R + 1), in the unit of W.

    Source: replaces theorem 3; proved above.

    Example:
      >>> noisy_map_bound_gap_free(jnp.array([4.0, 3.0]), jnp.zeros(2), 0.5, 2, 1.0)[2].item()
      8.0
    """
    bound = cascade.training_bound_gap_free(singular_values, errors)
    ranks = jnp.arange(bound.shape[-1], dtype=bound.dtype) + jnp.asarray(true_rank, bound.dtype)
    return (bound + 2 * jnp.sqrt(ranks) * noise_norm) / smallest


def _check_shape(rows: int, columns: int) -> None:
    if rows < 1 or columns < 1:
        raise ValueError(f"the noise has shape ({rows}, {columns}); allowed are sides >= 1")
