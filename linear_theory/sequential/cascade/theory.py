"""How errors of rank-one steps accumulate in sequential deflation.

Legend: X (d, n) inputs, Y (m, n) targets, P_X the projector on the row space of X; s_k the singular
values of Y P_X, largest first, T_k = s_k - s_{k+1}; component k is b_k a_k^T; Y_1 = Y and
Y_{k+1} = Y_k - b_k a_k^T X the inexact run, Y*_k the exact one; psi_k = ||Psi_k|| the error of step
k, Psi_k = b_k a_k^T X minus the best rank-one approximation of Y_k P_X; rho_k = 2 + 6 s_k/T_k;
tau_r = (sum_{i > r} s_i^2)^{1/2}. Norms are Frobenius norms unless a name says spectral.

Bounds come for all numbers of components at once: entry r of the last axis, r = 0, ..., R. Products
are taken in log space, because they pass 1e50 in published settings. A zero gap gives +inf. All
functions work on the last axis, take one unit for singular values and errors, keep the dtype, and
raise ValueError for an empty spectrum or more errors than singular values.
Source: arXiv 2505.22602. It has no displayed proof text for some constants; those are proved here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import as_spectrum, gap_ratio, gaps_open, spectral_gaps
from linear_theory.perturbation.truncation import tail_norm


@jax.jit
def amplification(singular_values: jax.Array) -> jax.Array:
    """Amplification factors rho_k = 2 + 6 s_k/T_k >= 8 of the mismatch in one deflation step.

    Takes (..., K), returns (..., K) without unit, +inf at a zero gap.
    Source: theorem 1; 1 + 6 s/T comes from lemma 3 and the other 1 from lemma 2.

    Example:
      >>> amplification(jnp.array([2.0, 1.0])).tolist()
      [14.0, 8.0]
    """
    return 2 + 6 * gap_ratio(singular_values)


@jax.jit
def improved_amplification(singular_values: jax.Array) -> jax.Array:
    """Amplification factors 4 s_k/T_k, valid while the mismatch stays below T_k/2.

    Takes (..., K), returns (..., K), +inf at a zero gap. It is 1 plus the constant of
    `perturbation.rank_one_improved_constant`, which takes the place of 1 + 6 s/T.

    Example:
      >>> improved_amplification(jnp.array([2.0, 1.0])).tolist()
      [8.0, 4.0]
    """
    return 4 * gap_ratio(singular_values)


@jax.jit
def log_recurrence_bound(factors: jax.Array, sources: jax.Array) -> jax.Array:
    """Natural log of Q_{k+1} = a_k Q_k + c_k, Q_1 = 0, that is of sum_i c_i prod_{j > i} a_j.

    Args:
      factors: a_k >= 0, (..., R); +inf makes every later value +inf.
      sources: c_k >= 0, broadcasting against (..., R).

    Returns:
      (..., R + 1), log Q_1 = -inf first. Never NaN for such input.

    Source: lemma 5.

    Example:
      >>> log_recurrence_bound(jnp.full(500, 1e9), jnp.ones(500))[-1].round().item()
      10341.0
    """
    factors, sources = jnp.broadcast_arrays(as_spectrum(factors), as_spectrum(sources))
    logs = jnp.moveaxis(jnp.log(factors), -1, 0), jnp.moveaxis(jnp.log(sources), -1, 0)

    def step(log_q, pair):
        log_factor, log_source = pair
        # 0 times inf: an undetermined component stays undetermined, however small the error.
        lost = jnp.isposinf(log_factor) | jnp.isposinf(log_q)
        grown = jnp.where(lost, jnp.inf, jnp.where(lost, 0, log_factor) + log_q)
        log_q = jnp.logaddexp(grown, log_source)
        return log_q, log_q

    start = jnp.full(factors.shape[:-1], -jnp.inf, jnp.result_type(*logs))
    _, later = jax.lax.scan(step, start, logs)
    return jnp.moveaxis(jnp.concatenate([start[None], later]), 0, -1)


@jax.jit
def recurrence_bound(factors: jax.Array, sources: jax.Array) -> jax.Array:
    """Q_{k+1} <= a_k Q_k + c_k with Q_1 = 0 implies Q_k <= sum_{i<k} c_i prod_{i<j<k} a_j.

    Shapes as in `log_recurrence_bound`. Beyond the range of the dtype the value is +inf.
    Source: lemma 5.

    Example:
      >>> recurrence_bound(jnp.array([9.0, 2.0, 3.0]), jnp.array([1.0, 1.0, 0.0])).round().tolist()
      [0.0, 1.0, 3.0, 9.0]
    """
    return jnp.exp(log_recurrence_bound(factors, sources))


@jax.jit
def accumulated_error(singular_values: jax.Array, errors: jax.Array) -> jax.Array:
    """Bound ||Y*_k - Y_k|| <= E(k) = sum_{i<k} psi_i prod_{i<j<k} rho_j, k = 1, ..., R + 1.

    Proof: E(k+1) = rho_k E(k) + psi_k by lemmas 2 and 3, then lemma 5.

    Args:
      singular_values: (..., K) of Y P_X.
      errors: psi_k, (..., R), R <= K.

    Returns:
      (..., R + 1), entry k - 1 for E(k); +inf once a gap T_j, j < k, is zero.

    Source: proof of theorem 1. The product runs over the later steps j > i; printed elsewhere with
    j < i, which lemma 5 does not give.

    Example:
      >>> accumulated_error(jnp.array([2.0, 1.0]), jnp.array([1.0, 1.0])).round().tolist()
      [0.0, 1.0, 9.0]
    """
    values, errors = _checked(singular_values, errors)
    return recurrence_bound(amplification(values)[..., : errors.shape[-1]], errors)


@jax.jit
def first_order_mismatch(singular_values: jax.Array) -> jax.Array:
    """sup ||Y*_k - Y_k|| / ||Psi_1|| as Psi_1 -> 0, later steps exact: max(1, s_k/T_{k-1}), k >= 3.

    One factor and no product. Proof, in the singular basis of Y P_X: the derivative of one exact
    step t removes the entry (t, t), multiplies the pair of entries (j, t), (t, j) by at most
    s_j/(s_t - s_j) if j > t, removes it if j < t, and keeps all others. A pair i < j thus meets two
    steps: amplified at i, removed at j. What is left of Psi_1 in Y_k are entries with both indices
    at least k or the smaller index 1 (kept), and pairs with 2 <= i < k <= j, of which i = k - 1,
    j = k grows most. If Psi_1 is a difference of rank-one matrices, b a^T X - R_1, its first order
    has index 1 in every entry, and the supremum is 1.

    Takes (..., K), returns (..., K), entry k - 1; 0 for k = 1, 1 for k = 2, +inf at a zero gap.

    Example:
      >>> first_order_mismatch(jnp.array([4.0, 3.0, 2.0, 1.5])).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    values = as_spectrum(singular_values)
    # s_k/T_{k-1} = s_{k-1}/T_{k-1} - 1.
    factor = jnp.maximum(1, gap_ratio(values)[..., :-1] - 1)
    first = jnp.zeros_like(values[..., :1])
    return jnp.concatenate([first, jnp.ones_like(factor[..., :1]), factor[..., 1:]], axis=-1)


@jax.jit
def first_order_component(singular_values: jax.Array) -> jax.Array:
    """sup ||R(Y_k) - R_k|| / ||Psi_1|| as Psi_1 -> 0, later steps exact: max(s_k/T_k, s_k/T_{k-1}).

    For k >= 3; s_2/T_2 for k = 2. The gaps around component k count and no others. Proof, as in
    `first_order_mismatch`: of what is left of Psi_1 in Y_k step k takes out the entries with index
    k; pairs (k, j), j > k, it multiplies by at most s_k/T_k, and the others it only moves, of which
    the pair (k - 1, k) is the largest, s_k/T_{k-1}.

    Takes (..., K), returns (..., K), entry k - 1; 0 for k = 1, +inf at a zero gap.

    Example:
      >>> first_order_component(jnp.array([4.0, 3.0, 2.0, 1.5])).tolist()
      [0.0, 3.0, 4.0, 3.0]
    """
    values = as_spectrum(singular_values)
    own = gap_ratio(values)
    before = jnp.concatenate([jnp.zeros_like(own[..., :2]), own[..., 1:-1] - 1], axis=-1)
    return jnp.maximum(own, before).at[..., 0].set(0)


@jax.jit
def perturbative(singular_values: jax.Array, errors: jax.Array) -> jax.Array:
    """Whether E(k) < T_k/2 for all k <= r: the hypothesis printed with theorem 1.

    Takes (..., K) and (..., R), returns (..., R + 1) boolean, entry r. The theorems hold without
    it (see `perturbation.rank_one_source_constant`); improved constants and expansions need it.

    Example:
      >>> perturbative(jnp.array([3.0, 1.0]), jnp.array([0.1, 0.1])).tolist()
      [True, True, True]
    """
    values, errors = _checked(singular_values, errors)
    steps = errors.shape[-1]
    small = accumulated_error(values, errors)[..., :steps] < spectral_gaps(values)[..., :steps] / 2
    small = small & gaps_open(values)[..., :steps]
    start = jnp.ones_like(small[..., :1])
    return jnp.cumprod(jnp.concatenate([start, small], axis=-1), axis=-1).astype(bool)


@jax.jit
def training_bound_single(singular_values: jax.Array, errors: jax.Array) -> jax.Array:
    """||Y_{r+1} P_X|| <= tau_r + sum_{k<=r} psi_k prod_{k<j<=r} rho_j, for T_k > 0, k <= r.

    Proof: Y_{r+1} = Y*_{r+1} + (Y_{r+1} - Y*_{r+1}); the norms are tau_r and at most E(r + 1).
    Takes (..., K) and (..., R), returns (..., R + 1). Source: theorem 1.

    Example:
      >>> training_bound_single(jnp.array([4.0, 3.0]), jnp.array([1.0, 0.0])).round().tolist()
      [5.0, 4.0, 8.0]
    """
    values, errors = _checked(singular_values, errors)
    return tail_norm(values)[..., : errors.shape[-1] + 1] + accumulated_error(values, errors)


@jax.jit
def training_bound_double(singular_values: jax.Array, errors: jax.Array) -> jax.Array:
    """||Y_{r+1} P_X|| <= tau_r + sum_{k<=r} sum_{i<=k} psi_i prod_{i<j<=k} rho_j.

    The inner sum is E(k + 1), so that this is never below `training_bound_single`.
    Takes (..., K) and (..., R), returns (..., R + 1). Source: theorem 4.

    Example:
      >>> training_bound_double(jnp.array([4.0, 3.0]), jnp.array([1.0, 0.0])).round().tolist()
      [5.0, 4.0, 9.0]
    """
    values, errors = _checked(singular_values, errors)
    tail = tail_norm(values)[..., : errors.shape[-1] + 1]
    return tail + jnp.cumsum(accumulated_error(values, errors), axis=-1)


@jax.jit
def training_bound_gap_free(singular_values: jax.Array, errors: jax.Array) -> jax.Array:
    """||Y_{r+1} P_X|| <= tau_r + sum_{k<=r} psi_k: any spectrum, any errors, no amplification.

    Proof: tau_j(A + B) <= tau_j(A) + ||B||, and without its best rank-one part a matrix has its
    singular values shifted by one; hence tau_j(Y_{k+1} P_X) <= tau_{j+1}(Y_k P_X) + psi_k. Chain
    this from tau_0(Y_{r+1} P_X) to tau_r(Y P_X).
    Takes (..., K) and (..., R), returns (..., R + 1). Source: proved above.

    Example:
      >>> training_bound_gap_free(jnp.array([4.0, 3.0]), jnp.array([1.0, 0.5])).tolist()
      [5.0, 4.0, 1.5]
    """
    values, errors = _checked(singular_values, errors)
    return tail_norm(values)[..., : errors.shape[-1] + 1] + _partial_sums(errors)


@jax.jit
def training_bound_gap_free_spectral(singular_values: jax.Array, errors: jax.Array) -> jax.Array:
    """||Y_{r+1} P_X||_2 <= s_{r+1} + sum_{k<=r} ||Psi_k||_2, the same proof in spectral norm.

    Takes (..., K) and errors ||Psi_k||_2 (..., R), returns (..., R + 1). Source: proved as in
    `training_bound_gap_free`.

    Example:
      >>> training_bound_gap_free_spectral(jnp.array([4.0, 3.0]), jnp.array([1.0, 0.5])).tolist()
      [4.0, 4.0, 1.5]
    """
    values, errors = _checked(singular_values, errors)
    padded = jnp.concatenate([values, jnp.zeros_like(values[..., :1])], axis=-1)
    return padded[..., : errors.shape[-1] + 1] + _partial_sums(errors)


def _partial_sums(errors: jax.Array) -> jax.Array:
    sums = jnp.cumsum(errors, axis=-1)
    return jnp.concatenate([jnp.zeros_like(sums[..., :1]), sums], axis=-1)


def _checked(singular_values, errors) -> tuple[jax.Array, jax.Array]:
    values, errors = as_spectrum(singular_values), as_spectrum(errors)
    if errors.shape[-1] > values.shape[-1]:
        raise ValueError(
            f"errors has {errors.shape[-1]} steps; allowed is at most one per singular value, "
            f"{values.shape[-1]}"
        )
    return values, errors
