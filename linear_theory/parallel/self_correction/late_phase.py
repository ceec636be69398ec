"""Parallel deflation near its end: the first-order law of the errors, exact where they are small.

Legend: M (m, d) the whitened target with singular triples (s_i, u_i, v_i), i = 1, ..., K, and
T_k = s_k - s_{k+1}; R_{k,l} the component of worker k <= r after round l, R*_k = s_k u_k v_k^T,
E_{k,l} their distance; M_{k,l} the target of worker k in round l: M minus the R_{j,l-1} of its
predecessors j < k; eps_{k,i,l} = <v_{k,l}, v_i>, where v_{k,l} is the unit right factor of R_{k,l}
with eps_{k,k,l} > 0; F_k the contraction of worker k in a round (see `contraction`), T sweeps or
steps in a round. Norms are Frobenius norms.

Arrays have workers (r,) on the last axis or modes (r, K) on the last two, and keep their dtype.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import as_spectrum


@jax.jit
def first_order_errors(modes: jax.Array, before: jax.Array, singular_values: jax.Array):
    """The error of a worker from its own modes and those its predecessors left one round ago:

        E_{k,l}^2 = sum_{i>k} eps_{k,i,l}^2 (s_k^2 + s_i^2)
                    + sum_{j<k} eps_{j,k,l-1}^2 (s_j^2 + s_k^2)

    for alternating steps, to first order in eps, r <= K workers that all publish. There,

        eps_{k,i,l} = (s_i/s_k)^{2T} eps_{k,i,l-1} for i > k, whatever the predecessors do;
        eps_{k,j,l} = -eps_{j,k,l-1} for j < k: slaved, one round late.

    Proof: R_j - R*_j is sum_i eps_{j,i} (s_j u_j v_i^T + s_i u_i v_j^T) to first order. Its part
    in the modes (j, i) meets the top pair of worker k > j only if i = k. There M_{k,l} has
    eps_{j,k,l-1} (s_j u_j v_k^T + s_k u_k v_j^T) subtracted; since M_{k,l} v_j = O(eps) a round of
    alternating steps turns v_k to v_k - eps_{j,k,l-1} v_j, and R_{k,l} by minus the same matrix.

    Args:
      modes: eps_{k,i,l} (..., r, K). before: eps_{k,i,l-1}, same shape.
      singular_values: (..., K).

    Returns:
      E_{k,l} (..., r).

    Source: proved above; new.

    Example:
      >>> now = jnp.array([[1.0, 3e-3, 0.0], [0.0, 1.0, 4e-3]])
      >>> first_order_errors(now, now, jnp.array([1.0, 0.0, 0.0])).round(6).tolist()
      [0.003000000026077032, 0.003000000026077032]
    """
    own, slaved = _own_and_slaved(modes, before)
    weight = _pair_weight(singular_values, modes.shape[-2])
    return jnp.sqrt(jnp.sum((own**2 + slaved**2) * weight, axis=-1))


@jax.jit
def first_order_sum_error(modes: jax.Array, before: jax.Array, singular_values: jax.Array):
    """||sum_k (R_{k,l} - R*_k)||, to first order: errors inside the first r modes cancel, up to one
    round. The square is

        sum_{k<=r<i} eps_{k,i,l}^2 (s_k^2 + s_i^2)
        + sum_{j<k<=r} (eps_{j,k,l} - eps_{j,k,l-1})^2 (s_j^2 + s_k^2).

    Arguments as in `first_order_errors`; returns (...). Source: proved there; new.

    Example:
      >>> now = jnp.array([[1.0, 3e-3, 0.0], [-3e-3, 1.0, 0.0]])
      >>> first_order_sum_error(now, now, jnp.array([1.0, 0.5, 0.0])).item()
      0.0
    """
    rank = modes.shape[-2]
    own, slaved = _own_and_slaved(modes, before)
    inside = own[..., :rank] - jnp.swapaxes(slaved[..., :rank], -1, -2)
    left = jnp.concatenate([inside, own[..., rank:]], axis=-1)
    return jnp.sqrt(jnp.sum(left**2 * _pair_weight(singular_values, rank), axis=(-2, -1)))


@jax.jit
def late_rate(contraction: jax.Array) -> jax.Array:
    """max(F_{k-1}, F_k), F_0 = 0: the rate at which E_{k,l} falls in the end.

    For alternating steps by `first_order_errors`: worker k has its own modes i > k and those slaved
    to eps_{j,k}, j < k, which fall as (s_k/s_j)^{2T}, slowest for j = k - 1. Errors of predecessors
    among themselves are invisible to it, so a later worker can be much faster than an earlier one.

    For gradient descent with one step size eta <= 1/(2 s_1) and F_k = (1 - eta T_k)^T it is the
    same: in the singular basis the error of worker j in the pair (j, i), i > j, falls as
    (1 - eta (s_j - s_i))^T or faster; it drives worker k only if i = k, where its own pair (k, j)
    falls as (1 - eta s_k)^T <= F_k. So the rates of worker k are those of (k, i), i > k, and of
    (j, k), j < k, the slowest of which are F_k and F_{k-1}.

    Takes F (..., r), returns (..., r). Source: proved above; new. The published rate is
    `warm_up.proved_rates`.

    Example:
      >>> late_rate(jnp.array([0.5, 0.25, 0.75])).tolist()
      [0.5, 0.5, 0.75]
    """
    contraction = jnp.asarray(contraction)
    before = jnp.concatenate([jnp.zeros_like(contraction[..., :1]), contraction[..., :-1]], axis=-1)
    return jnp.maximum(before, contraction)


def _own_and_slaved(modes: jax.Array, before: jax.Array) -> tuple[jax.Array, jax.Array]:
    """eps_{k,i,l} at (k, i), i > k, and eps_{j,k,l-1} at (k, j), j < k; zero elsewhere."""
    rank, count = modes.shape[-2:]
    own = jnp.triu(modes, 1)
    square = jnp.swapaxes(jnp.triu(before, 1)[..., :rank], -1, -2)
    padding = [(0, 0)] * (modes.ndim - 1) + [(0, count - rank)]
    return own, jnp.pad(square, padding)


def _pair_weight(singular_values: jax.Array, rank: int) -> jax.Array:
    squares = as_spectrum(singular_values) ** 2
    return squares[..., :rank, None] + squares[..., None, :]
