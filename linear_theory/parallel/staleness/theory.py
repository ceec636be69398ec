"""Parallel deflation with stale predecessors: what a delay of tau rounds costs, and what not.

Legend: tau >= 0 the staleness: in round l worker k subtracts R_{j,l-1-tau}, j < k (before the
start: what was held at the start), while its own factors are those of round l - 1; s_i the singular
values of the whitened target M, T_k = s_k - s_{k+1}; R*_k = s_k u_k v_k^T, E_{k,l} the norm of
R_{k,l} - R*_k, G_{k,l} = E_{k,l}/s_k; F_k, kappa_kj, c_k as in `self_correction`; eps_{k,i,l} as in
`late_phase`; T sweeps in a round.

The result, in one line: rates do not change; near the end staleness costs tau rounds, once for all
workers and not once per stage; from a cold start it costs up to tau rounds per predecessor, and
exactly that with an exact solver. Why:

A worker's own modes i > k do not feel its predecessors to first order, stale or not. It feels the
mode k of worker j < k, one round late without and 1 + tau late with staleness, and that mode is one
of worker j's own, which in turn feels nobody. So the delays of a chain j < k < i do not add up.
In the worst case (`delayed_envelope`, where all errors are taken to be felt) they do: every stage
has a factor m^{-tau}. Norms are Frobenius norms. Arrays have workers (r,) on the last axis and keep
their dtype. All of this is proved here; no published counterpart.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from linear_theory.parallel.self_correction.late_phase import first_order_errors


@functools.partial(jax.jit, static_argnames="staleness")
def stale_first_order_errors(modes: jax.Array, singular_values: jax.Array, staleness: int):
    """The error of a worker from its own modes and those its predecessors left 1 + tau rounds ago:

        E_{k,l}^2 = sum_{i>k} eps_{k,i,l}^2 (s_k^2 + s_i^2)
                    + sum_{j<k} eps_{j,k,l-1-tau}^2 (s_j^2 + s_k^2)

    for alternating steps, to first order in eps, where eps_{k,i,l} = (s_i/s_k)^{2T} eps_{k,i,l-1}
    for i > k, and eps_{k,j,l} = -eps_{j,k,l-1-tau} for j < k.

    Proof: that of `late_phase.first_order_errors` looks at one round, in which M_{k,l} has the
    R_{j,l-1} subtracted; here they are the R_{j,l-1-tau}, and nothing else in it changes.
    Since eps_{j,k} falls by (s_k/s_j)^{2T} a round, a term of the second sum is (s_k/s_j)^{-4T tau}
    times what it is without staleness, and falls at the same rate.

    Args:
      modes: eps (..., L + 1, r, K), the rounds 0, ..., L.
      singular_values: (..., K).
      staleness: tau.

    Returns:
      E_{k,l} (..., L, r), the rounds 1, ..., L.

    Source: proved above.

    Example:
      >>> modes = jnp.array([[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.25], [0.0, 1.0]]])
      >>> stale_first_order_errors(modes, jnp.array([1.0, 0.0]), 0).tolist()
      [[0.25, 0.5]]
    """
    visible = jnp.maximum(jnp.arange(modes.shape[-3] - 1) - staleness, 0)
    values = jnp.asarray(singular_values)[..., None, :]
    return first_order_errors(modes[..., 1:, :, :], modes[..., visible, :, :], values)


@functools.partial(jax.jit, static_argnames=("rounds", "staleness"))
def delayed_envelope(
    couplings: jax.Array, contraction: jax.Array, start: jax.Array, rounds: int, staleness: int
):
    """g_{k,l} = F_k g_{k,l-1} + sum_{j<k} kappa_kj g_{j,l-1-tau}, an upper bound on G_{k,l}.

    With g_{.,l} = G_{.,0} for l <= 0. Proof: the one-step bound E_{k,l} <= F_k E_{k,l-1} +
    (1 + F_k) c_k delta_{k,l} holds for any target whose mismatch is at most delta_{k,l}, which with
    stale predecessors is sum_{j<k} E_{j,l-1-tau}; divide by s_k and iterate.

    Args:
      couplings: kappa (..., r, r).
      contraction: F (..., r).
      start: G_{.,0} (..., r).
      rounds: L.
      staleness: tau.

    Returns:
      (L + 1, ..., r).

    Source: proved above; tau = 0 is `self_correction.envelope`.

    Example:
      >>> kappa = jnp.array([[0.0, 0.0], [1.0, 0.0]])
      >>> delayed_envelope(kappa, jnp.array([0.5, 0.0]), jnp.ones(2), 3, 1)[:, 1].tolist()
      [1.0, 1.0, 1.0, 0.5]
    """
    shape = jnp.broadcast_shapes(couplings.shape[:-1], contraction.shape, start.shape)
    # The last tau + 1 rounds, oldest first.
    first = jnp.broadcast_to(start, (staleness + 1, *shape))

    def step(last, _):
        new = contraction * last[-1] + jnp.einsum("...kj,...j->...k", couplings, last[0])
        return jnp.concatenate([last[1:], new[None]]), new

    _, later = jax.lax.scan(step, first, length=rounds)
    return jnp.concatenate([first[:1], later])


@functools.partial(jax.jit, static_argnames="staleness")
def geometric_constants(
    couplings: jax.Array, contraction: jax.Array, start: jax.Array, rate, staleness: int
) -> jax.Array:
    """C_k of G_{k,l} <= C_k m^l for all l >= 0, at any rate m in (0, 1) above all F_k, k >= 2:

        C_k = max{ G_{k,0},  m^{-tau} sum_{j<k} kappa_kj C_j / (m - F_k) },  m >= F_1.

    Every stage multiplies by m^{-tau} at most, and m itself is free of tau: any rate that a run
    without staleness has is one that a stale run has.
    Proof: by induction on k and l. G_{j,l} = G_{j,0} <= C_j m^l also for -tau <= l <= 0, so that
    G_{k,l} <= F_k C_k m^{l-1} + sum_j kappa_kj C_j m^{l-1-tau} <= (F_k + m - F_k) C_k m^{l-1}.

    Args:
      couplings: kappa (..., r, r).
      contraction: F (..., r).
      start: G_{.,0} (..., r).
      rate: m (...).
      staleness: tau.

    Returns:
      (..., r); +inf where m <= F_k and worker k has predecessors.

    Source: proved above.

    Example:
      >>> kappa, f = jnp.array([[0.0, 0.0], [1.0, 0.0]]), jnp.array([0.5, 0.25])
      >>> geometric_constants(kappa, f, jnp.ones(2), 0.5, 1).tolist()
      [1.0, 8.0]
    """
    rate = jnp.asarray(rate)
    constants = [start[..., 0]]
    for k in range(1, start.shape[-1]):
        room = rate - contraction[..., k]
        felt = sum(couplings[..., k, j] * constants[j] for j in range(k))
        driven = rate**-staleness * felt / jnp.where(room > 0, room, 1)
        constants.append(jnp.where(room > 0, jnp.maximum(start[..., k], driven), jnp.inf))
    return jnp.stack(jnp.broadcast_arrays(*constants), axis=-1)


def exact_from(rank: int, staleness: int):
    """1 + (k - 1)(tau + 1): the round from which worker k is exact if its solver is.

    Proof: by induction. Worker k sees the exact R*_j of its predecessors from round
    1 + (k - 2)(tau + 1) + tau + 1 on, and then finds R*_k in one round; with staggered publishing
    it is the round in which it publishes.

    Returns:
      Rounds (rank,), counted from 1.

    Source: proved above; tau = 0 is arXiv 2605.10741's one worker per round.

    Example:
      >>> exact_from(3, 2).tolist()
      [1, 4, 7]
    """
    return 1 + jnp.arange(rank) * (staleness + 1)
