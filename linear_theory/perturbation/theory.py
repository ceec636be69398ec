"""Singular values, singular vectors and the best rank-one approximation under a perturbation.

Legend: M (m, d) a matrix, E its perturbation, K = min(m, d); s_1 >= ... >= s_K the singular values
of M and s_{K+1} = 0; T_k = s_k - s_{k+1} the spectral gaps; R_1(M) = s_1 u_1 v_1^T the best
rank-one approximation; ||.|| is the Frobenius norm.

A function of singular values works on the last axis and keeps the dtype of its input. A gap of at
most GAP_FLOOR s_1 counts as zero: whatever is divided by it is +inf, never NaN.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

GAP_FLOOR = 1e-12


def as_spectrum(singular_values: jax.Array) -> jax.Array:
    """Singular values as a floating array with a non-empty last axis; a float keeps its dtype.

    Raises:
      ValueError: if there is no last axis or it is empty.

    Example:
      >>> as_spectrum([2, 1]).tolist()
      [2.0, 1.0]
    """
    values = jnp.asarray(singular_values)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"singular_values has shape {values.shape}; allowed is (..., K), K >= 1")
    return values if jnp.issubdtype(values.dtype, jnp.floating) else values.astype(float)


@jax.jit
def spectral_gaps(singular_values: jax.Array) -> jax.Array:
    """Spectral gaps T_k = s_k - s_{k+1}, with s_{K+1} = 0.

    Args:
      singular_values: (..., K), descending, in any unit.

    Returns:
      (..., K), same unit and dtype.

    Raises:
      ValueError: if there is no last axis or it is empty.

    Source: arXiv 2505.22602, section 4.

    Example:
      >>> spectral_gaps(jnp.array([3.0, 2.0, 0.5])).tolist()
      [1.0, 1.5, 0.5]
    """
    values = as_spectrum(singular_values)
    return values - _next(values)


@jax.jit
def gaps_open(singular_values: jax.Array) -> jax.Array:
    """Where T_k > GAP_FLOOR s_1, so that component k is determined at all.

    Takes and returns (..., K), boolean. Raises ValueError for an empty spectrum.

    Example:
      >>> gaps_open(jnp.array([2.0, 2.0, 1.0, 0.0])).tolist()
      [False, True, True, False]
    """
    values = as_spectrum(singular_values)
    return values - _next(values) > GAP_FLOOR * values[..., :1]


@jax.jit
def gap_ratio(singular_values: jax.Array) -> jax.Array:
    """The exact local Lipschitz constant s_k / T_k of M -> R_1(M), for every component in turn.

    ||R_1(M + E) - R_1(M)|| = (s_1/T_1) ||E|| + o(||E||) at worst. Proof: in the singular basis the
    derivative keeps the pair (E_i1, E_1i) and multiplies it by s_1/(s_1^2 - s_i^2) [[s_1, s_i],
    [s_i, s_1]], whose eigenvalues are s_1/(s_1 - s_i) and s_1/(s_1 + s_i); the entry E_11 is kept
    and all others are dropped. The worst direction is u_2 v_1^T + u_1 v_2^T.
    Component k is R_1 of M after k - 1 exact deflations, hence s_k / T_k.

    Takes (..., K), returns (..., K) without unit, +inf at a zero gap. Raises ValueError for an
    empty spectrum.

    Example:
      >>> gap_ratio(jnp.array([3.0, 2.0, 2.0])).tolist()
      [3.0, inf, 1.0]
    """
    values = as_spectrum(singular_values)
    is_open = gaps_open(values)
    gaps = jnp.where(is_open, spectral_gaps(values), 1)
    return jnp.where(is_open, values / gaps, jnp.inf)


@jax.jit
def sin_theta_bound(residual: jax.Array, gap: jax.Array) -> jax.Array:
    """Davis-Kahan and Wedin: ||sin Theta|| <= residual / gap, +inf where the gap is not positive.

    Davis-Kahan (symmetric A and A + H): residual = ||H V_r||, gap = l_r(A) - l_{r+1}(A + H).
    Wedin (M and M + E, both sides at once, the left side being the root of the two squared sines):
    residual = (||E V_r||^2 + ||E^T U_r||^2)^{1/2}, gap = s_r(M) - s_{r+1}(M + E).

    Broadcasts; residual and gap in one unit, the result without. It raises nothing.
    Source: Davis and Kahan 1970, sin Theta theorem; Wedin 1972, equation (3.1).

    Example:
      >>> sin_theta_bound(jnp.array([1.0, 1.0]), jnp.array([4.0, 0.0])).tolist()
      [0.25, inf]
    """
    residual, gap = jnp.broadcast_arrays(jnp.asarray(residual), jnp.asarray(gap))
    return jnp.where(gap > 0, residual / jnp.where(gap > 0, gap, 1), jnp.inf)


@jax.jit
def rank_one_source_constant(singular_values: jax.Array) -> jax.Array:
    """Factor c = 1 + 6 s_k/T_k in ||R_1(M + E) - R_1(M)|| <= c ||E||_2, with no condition on E.

    Takes (..., K), returns (..., K), +inf at a zero gap. Raises ValueError for an empty spectrum.
    Source: arXiv 2505.22602, lemma 3, stated there for ||E||_2 < T/2 only. Beyond that it holds
    because the left side is at most 2 s + ||E||_2 and the right side at least ||E||_2 + 3 s.

    Example:
      >>> rank_one_source_constant(jnp.array([2.0, 1.0])).tolist()
      [13.0, 7.0]
    """
    return 1 + 6 * gap_ratio(singular_values)


@jax.jit
def rank_one_improved_constant(singular_values: jax.Array) -> jax.Array:
    """Factor c = 4 s_k/T_k - 1 in ||R_1(M + E) - R_1(M)|| <= c ||E||_2 while ||E||_2 <= T/2.

    It is `truncation.truncation_bound_below_rank` at r = 1, since 3 + 4 s_2/T = 4 s_1/T - 1.
    Takes (..., K), returns (..., K), +inf at a zero gap. Raises ValueError for an empty spectrum.

    Example:
      >>> rank_one_improved_constant(jnp.array([2.0, 1.0])).tolist()
      [7.0, 3.0]
    """
    return 4 * gap_ratio(singular_values) - 1


@jax.jit
def rank_one_integrated_constant(singular_values: jax.Array, distance: jax.Array) -> jax.Array:
    """Factor c(t) = L s_k/T_k + (L - 1)/sqrt(2), L = -ln(1 - t)/t, t = sqrt(2) ||E||/T_k < 1.

    ||R_1(M + E) - R_1(M)|| <= c(t) ||E||, which tends to the exact s_k/T_k as E does to 0.
    Proof: integrate the local constant of `gap_ratio` along M + x E, 0 <= x <= 1. With D = ||E||,
    Mirsky gives a gap of at least T - sqrt(2) x D there and Weyl a top value of at most s + x D;
    the integral of (s + x D) / (T - sqrt(2) x D) is c(t).

    Args:
      singular_values: (..., K).
      distance: ||E|| in the unit of the singular values, broadcasting against (..., K).

    Returns:
      (..., K) without unit; +inf at a zero gap or for t >= 1.

    Raises:
      ValueError: for an empty spectrum.

    Example:
      >>> rank_one_integrated_constant(jnp.array([2.0, 1.0]), jnp.array([0.0, 9.0])).tolist()
      [2.0, inf]
    """
    ratio = gap_ratio(singular_values)
    is_open = gaps_open(singular_values)
    gaps = jnp.where(is_open, spectral_gaps(singular_values), 1)
    closing = math.sqrt(2) * distance / gaps
    inside = is_open & (closing < 1)
    # Away from 0 and 1, so that neither branch of `where` divides by zero.
    safe = jnp.where(inside & (closing > 0), closing, 0.5)
    stretch = jnp.where(closing > 0, -jnp.log1p(-safe) / safe, 1)
    value = stretch * jnp.where(is_open, ratio, 1) + (stretch - 1) / math.sqrt(2)
    return jnp.where(inside, value, jnp.inf)


def _next(values: jax.Array) -> jax.Array:
    return jnp.concatenate([values[..., 1:], jnp.zeros_like(values[..., :1])], axis=-1)
