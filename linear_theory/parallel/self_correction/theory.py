"""Parallel deflation: how errors of predecessors couple into a worker, and how they die out.

Legend: M (m, d) the whitened target with singular triples (s_i, u_i, v_i), T_k = s_k - s_{k+1};
R_{k,l} the component of worker k after round l, R*_k = s_k u_k v_k^T; M_{k,l} its target in round
l, which is M minus the R_{j,l-1} of its predecessors j < k, and M*_k the same with R*_j;
E_{k,l} = ||R_{k,l} - R*_k||, G_{k,l} = E_{k,l}/s_k; delta_{k,l} = sum_{j<k} E_{j,l-1}; F_k in
(0, 1) the contraction ||R_{k,l} - R^|| <= F_k ||R_{k,l-1} - R^|| towards the best rank-one
approximation R^ of M_{k,l}; c_k a constant with ||R^ - R*_k|| <= c_k delta_{k,l}. Norms are
Frobenius norms.

Arrays have the workers (r,) on the last axis and keep their dtype. `contraction` has F_k for the
solvers, `warm_up` the theorem with an explicit warm-up, `late_phase` the exact law near the end.
Source: arXiv 2605.10741 (AdaPaD) and arXiv 2502.17615, whose published forms leave open F_k, the
normalisation of G and the constants; what is proved here says so.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import (
    as_spectrum,
    rank_one_integrated_constant,
    rank_one_source_constant,
    spectral_gaps,
)


@jax.jit
def mismatch_bound(errors: jax.Array) -> jax.Array:
    """||M_{k,l} - M*_k|| <= delta_{k,l} = sum_{j<k} s_j G_{j,l-1}, by the triangle inequality.

    Takes E_{j,l-1} as the others see it (..., r), returns delta_{k,l} (..., r), same unit.

    Example:
      >>> mismatch_bound(jnp.array([1.0, 2.0, 4.0])).tolist()
      [0.0, 1.0, 3.0]
    """
    errors = jnp.asarray(errors)
    return jnp.cumsum(errors, axis=-1) - errors


@jax.jit
def gate_radius(singular_values: jax.Array, tau: float = 0.5) -> jax.Array:
    """delta = tau T_k/sqrt(2): up to here the target still has the gap that lemma P needs.

    Takes (..., K), returns (..., K), same unit. Raises ValueError for an empty spectrum.

    Example:
      >>> gate_radius(jnp.array([3.0, 1.0]), tau=2**0.5).round(4).tolist()
      [2.0, 1.0]
    """
    return tau * spectral_gaps(singular_values) / math.sqrt(2)


@jax.jit
def transfer_constant(singular_values: jax.Array, mismatch: jax.Array) -> jax.Array:
    """c_k of ||R^ - R*_k|| <= c_k delta for the first r workers, by the integrated lemma.

    Args:
      singular_values: (..., K).
      mismatch: delta (..., r), r <= K, same unit.

    Returns:
      (..., r), without unit; +inf where sqrt(2) delta >= T_k.

    Source: `perturbation.rank_one_integrated_constant`.

    Example:
      >>> transfer_constant(jnp.array([2.0, 1.0, 0.5]), jnp.array([0.0, 1.0])).tolist()
      [2.0, inf]
    """
    values, mismatch = as_spectrum(singular_values), jnp.asarray(mismatch)
    missing = values.shape[-1] - mismatch.shape[-1]
    padding = [(0, 0)] * (mismatch.ndim - 1) + [(0, missing)]
    constants = rank_one_integrated_constant(values, jnp.pad(mismatch, padding))
    return constants[..., : mismatch.shape[-1]]


@functools.partial(jax.jit, static_argnames="rank")
def source_constant(singular_values: jax.Array, rank: int) -> jax.Array:
    """c_k = 1 + 6 s_k/T_k for the first `rank` workers: (..., K) to (..., rank).

    Source: `perturbation.rank_one_source_constant`; arXiv 2502.17615 has 12 = 2 * 6 from it.

    Example:
      >>> source_constant(jnp.array([2.0, 1.0, 0.5]), 2).tolist()
      [13.0, 13.0]
    """
    return rank_one_source_constant(singular_values)[..., :rank]


@jax.jit
def one_step_bound(
    contraction: jax.Array, errors: jax.Array, mismatch: jax.Array, constant: jax.Array
) -> jax.Array:
    """E_{k,l} <= F_k E_{k,l-1} + (1 + F_k) c_k delta_{k,l}.

    Proof: E_{k,l} <= ||R_{k,l} - R^|| + ||R^ - R*_k|| and ||R_{k,l} - R^|| <= F_k (E_{k,l-1} +
    ||R*_k - R^||); the last distance is at most c_k delta_{k,l}.

    Takes F_k, E_{k,l-1}, delta_{k,l} and c_k, which broadcast. Source: proved above.

    Example:
      >>> one_step_bound(0.5, jnp.array([1.0]), jnp.array([0.25]), 2.0).tolist()
      [1.25]
    """
    return contraction * errors + (1 + contraction) * constant * mismatch


@jax.jit
def coupling(singular_values: jax.Array, contraction: jax.Array, constant: jax.Array) -> jax.Array:
    """kappa_kj = (1 + F_k) c_k s_j/s_k for j < k, so that G_k <= F_k G_k + sum_j kappa_kj G_j.

    Takes (..., K), F (..., r) and c (..., r), returns (..., r, r), strictly lower triangular.

    Example:
      >>> coupling(jnp.array([2.0, 1.0]), jnp.array([0.5, 0.5]), jnp.array([1.0, 1.0])).tolist()
      [[0.0, 0.0], [3.0, 0.0]]
    """
    contraction = jnp.asarray(contraction)
    values = as_spectrum(singular_values)[..., : contraction.shape[-1]]
    factor = (1 + contraction) * constant / values
    return jnp.tril(factor[..., :, None] * values[..., None, :], -1)


@functools.partial(jax.jit, static_argnames="rounds")
def envelope(couplings: jax.Array, contraction: jax.Array, start: jax.Array, rounds: int):
    """G_{.,l0+t} <= N^t G_{.,l0} elementwise, N = diag(F) + kappa, t = 0, ..., rounds.

    N is lower triangular with spectral radius max F_k < 1: errors decay geometrically, whatever the
    couplings are, and no warm-up enters once the gates hold.

    Args:
      couplings: kappa (..., r, r).
      contraction: F (..., r).
      start: G_{.,l0} (..., r).
      rounds: number of products.

    Returns:
      (rounds + 1, ..., r).

    Source: `one_step_bound`, iterated; proved there.

    Example:
      >>> kappa = jnp.array([[0.0, 0.0], [1.0, 0.0]])
      >>> envelope(kappa, jnp.array([0.5, 0.5]), jnp.ones(2), 2).tolist()
      [[1.0, 1.0], [0.5, 1.5], [0.25, 1.25]]
    """

    def step(errors, _):
        errors = contraction * errors + jnp.einsum("...kj,...j->...k", couplings, errors)
        return errors, errors

    shape = jnp.broadcast_shapes(couplings.shape[:-1], contraction.shape, start.shape)
    first = jnp.broadcast_to(start, shape)
    _, later = jax.lax.scan(step, first, length=rounds)
    return jnp.concatenate([first[None], later])


@jax.jit
def amplitude_bound(singular_values: jax.Array, mismatch: jax.Array) -> jax.Array:
    """G_{k,l} <= sqrt(1 + (s_{k+1}/s_k)^2) + delta_{k,l}/s_k after a round of alternating steps.

    It needs no gap, no gate and no burn-in. Under delta <= T_k/2 it is at most 3/2, since
    sqrt(1 + q^2) + (1 - q)/2 is convex in q = s_{k+1}/s_k and at most 3/2 at both ends.
    Proof: R_{k,l} = M_{k,l} v v^T with |v| = 1. Then ||M_{k,l} v v^T - R*_k|| <= delta +
    ||M*_k v v^T - R*_k||, and with v = cos t v_k + sin t w the square of the last norm is
    sin^2 t (s_k^2 + ||M*_k w||^2) <= s_k^2 + s_{k+1}^2.

    Takes (..., K) and delta (..., r), returns (..., r).
    Source: proved above; the published theorem has the amplitude 6.

    Example:
      >>> amplitude_bound(jnp.array([4.0, 3.0]), jnp.array([2.0])).tolist()
      [1.75]
    """
    values = as_spectrum(singular_values)
    own = values[..., : mismatch.shape[-1]]
    after = (values - spectral_gaps(values))[..., : mismatch.shape[-1]]
    return (jnp.hypot(own, after) + mismatch) / own


@jax.jit
def second_gate_round(singular_values, cosine, sweeps: int = 1, gate: float = 0.5) -> jax.Array:
    """l_2 = 1 + max(1, ln(s_1 sqrt(1 + q^2) tan t/(gate T_2)) / (2 T ln(1/q))), q = s_2/s_1:
    worker 2 sees delta_{2,l} <= gate T_2 in every round l >= l_2.

    The warm-up grows with the logarithm of one over the gap, and no more.
    Proof: alternating steps have tan t_{1,l} <= q^{2Tl} tan t, and E_{1,l} <= s_1 sqrt(1 + q^2)
    sin t_{1,l}; delta_{2,l} = E_{1,l-1} once worker 1 has published, which it has after round 1.

    Args:
      singular_values: (..., K), K >= 2.
      cosine: cos t (...), between v_1 and the first a of worker 1.
      sweeps: T. gate: relative to T_2.

    Returns:
      A real number of rounds (...).

    Source: proved above. Worker k's warm-up in general is `warm_up.warm_up_rounds`.

    Example:
      >>> round(float(second_gate_round(jnp.array([1.0, 0.5, 0.25]), jnp.array(0.6))), 2)
      2.79
    """
    values = as_spectrum(singular_values)
    ratio = values[..., 1] / values[..., 0]
    tangent = jnp.sqrt(1 - cosine**2) / cosine
    reach = jnp.hypot(values[..., 0], values[..., 1]) * tangent
    excess = jnp.log(reach / (gate * spectral_gaps(values)[..., 1]))
    return 1 + jnp.maximum(1, excess / (-2 * sweeps * jnp.log(ratio)))
