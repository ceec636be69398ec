"""How long a worker waits until the errors of its predecessors have died down: the Lambert-W law.

Legend: k, j workers, j < k; F_k in (0, 1) the contraction of worker k in a round, e_k the first
round from which it holds; m_k >= F_k the rate that is proved for worker k; s_k its warm-up round;
A the amplitude, a bound on the relative error before the warm-up ends; s_i the singular values of
the fitted target, T_k = s_k - s_{k+1}; kappa_kj the coupling (see `self_correction.coupling`).

The theorem is: G_{k,l} <= A (l - s_k + 2) m_k^{l - s_k + 1} for all l >= s_k - 1, where G_{k,l} is
the error of worker k after round l over s_k. Functions work on the last axis and keep the dtype.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import as_spectrum, gaps_open, spectral_gaps

# From that start the relative error is at most 2e-3, 6e-7 and 1e-13 after one, two and three steps,
# the worst over u: a fourth changes nothing that rounding keeps.
NEWTON_STEPS = 3


@jax.jit
def lambert(argument: jax.Array) -> jax.Array:
    """What(x) = -W_{-1}(-x), the root w >= 1 of w e^{-w} = x for 0 < x < 1/e; 1 for x >= 1/e.

    Newton on w - ln w = -ln x, a convex equation, from the upper bound 1 + sqrt(2 u) + u with
    u = -ln x - 1: it falls to the root, and quadratically, so that rounding apart w is never too
    small. It works under `jit`.

    Args:
      argument: x >= 0, any shape.

    Returns:
      The same shape and dtype; +inf at 0, NaN below.

    Source: Corless et al. 1996, the branch -1; the bound from Chatzigeorgiou 2013, theorem 1.
    The convention for x >= 1/e is that of arXiv 2502.17615, theorem 2.

    Example:
      >>> lambert(jnp.array([0.0, 2 * jnp.exp(-2.0), 1.0])).round(4).tolist()
      [inf, 2.0, 1.0]
    """
    argument = jnp.asarray(argument, jnp.result_type(argument, float))
    excess = -jnp.log(argument) - 1
    inside = (excess > 0) & jnp.isfinite(excess)
    u = jnp.where(inside, excess, 1)
    w = 1 + jnp.sqrt(2 * u) + u
    for _ in range(NEWTON_STEPS):
        # Rounding may take w below the root and to 1, where the slope is 0.
        w = jnp.maximum(w - (w - jnp.log(w) - 1 - u) * w / jnp.maximum(w - 1, 1e-30), 1)
    w = jnp.where(inside, w, 1)
    return jnp.where(argument > 0, w, jnp.where(argument == 0, jnp.inf, jnp.nan))


@jax.jit
def rounds_until(rate: jax.Array, level: jax.Array) -> jax.Array:
    """x_0 = What(a y)/a, a = ln(1/m): then x m^x <= y for all x >= x_0.

    Proof: x m^x has its maximum 1/(e a) at 1/a and falls from there on; x_0 is where it is y, or
    1/a if y is above the maximum.

    Args:
      rate: m in (0, 1).
      level: y > 0, broadcasting against it.

    Returns:
      x_0, a real number of rounds.

    Source: arXiv 2502.17615, theorem 2, where it is used twice.

    Example:
      >>> rounds_until(jnp.exp(-1.0), 2 * jnp.exp(-2.0)).round(4).item()
      2.0
    """
    decay = -jnp.log(rate)
    return lambert(decay * level) / decay


@jax.jit
def proved_rates(contraction: jax.Array) -> jax.Array:
    """m_1 = F_1, m_k = max(F_k, 1/k + (k-1)/k m_{k-1}): a strictly increasing sequence below 1.

    With equal F it is 1 - m_k = (1 - F)/k.

    Takes F (..., r), returns m (..., r).
    Source: arXiv 2502.17615, theorem 2. It is printed with m_0 = F_1 from k = 1 on, which makes m_1
    equal to 1 and the theorem empty; m_1 = F_1 is the reading under which it is proved.

    Example:
      >>> proved_rates(jnp.array([0.5, 0.5, 0.875])).tolist()
      [0.5, 0.75, 0.875]
    """
    rates = [contraction[..., 0]]
    for k in range(2, contraction.shape[-1] + 1):
        rates.append(jnp.maximum(contraction[..., k - 1], 1 / k + (k - 1) / k * rates[-1]))
    return jnp.stack(rates, axis=-1)


def own_rates(contraction: jax.Array) -> jax.Array:
    """m_k = F_k, as if every worker were behind exact predecessors: what the theorem does not say.

    Example:
      >>> own_rates(jnp.array([0.5, 0.25])).tolist()
      [0.5, 0.25]
    """
    return contraction


@jax.jit
def warm_up_rounds(
    singular_values: jax.Array,
    rates: jax.Array,
    burn_in: jax.Array,
    couplings: jax.Array,
    gate: float,
    amplitude: float = 6.0,
) -> jax.Array:
    """s_k = max{k, e_k, max_{j<k} ceil(s_j + max(p, q, t))} with s_1 = e_1, where

        p = 1/ln(m_k/m_j) - 1
        q = What(a_j y)/a_j,     y = m_j gate T_k/(A (k-1) s_j)
        t = What(a_j z)/a_j - 1, z = m_j m_k/((k-1) kappa_kj),     a_j = ln(1/m_j).

    Proof that G_{k,l} <= A (x+1) m_k^x, x = l - s_k + 1 >= 0, follows, by induction on k and on x.
    x = 0 is the amplitude. By q, sum_j s_j G_{j,l-1} <= gate T_k for l >= s_k, so that
    G_{k,l} <= F_k G_{k,l-1} + sum_j kappa_kj G_{j,l-1}. The first term is at most A x m_k^x. With
    d = s_k - s_j a summand of the second is at most kappa_kj A (x + d) m_j^{x-1+d}; divided by
    m_k^x it falls in x for x >= 1 by p, and at x = 1 it is at most A/(k-1) by t.

    Args:
      singular_values: (..., K), in any unit.
      rates: m (..., r), strictly increasing, in (0, 1). Where m_k <= m_j the theorem does not
        apply, and p is left out.
      burn_in: e (..., r), rounds counted from 1.
      couplings: kappa (..., r, r), its strictly lower part is used.
      gate: the recursion holds while the mismatch is at most gate T_k.
      amplitude: A.

    Returns:
      s (..., r), integers as floats; +inf at a zero gap.

    Raises:
      ValueError: for an empty spectrum.

    Source: arXiv 2502.17615, theorem 2, whose constants follow with gate = 1/2 and A = 6; the exact
    form is proved above.

    Example:
      >>> values, m, e = jnp.array([2.0, 1.0]), jnp.array([0.1, 0.6]), jnp.array([1.0, 1.0])
      >>> warm_up_rounds(values, m, e, jnp.ones((2, 2)), gate=0.5).tolist()
      [1.0, 4.0]
    """
    values = as_spectrum(singular_values)
    gaps = jnp.where(gaps_open(values), spectral_gaps(values), 0)
    rounds = [burn_in[..., 0]]
    for k in range(1, rates.shape[-1]):
        earliest = jnp.maximum(burn_in[..., k], k + 1.0)
        for j in range(k):
            m, m_k = rates[..., j], rates[..., k]
            growing = m_k > m
            p = jnp.where(growing, 1 / jnp.log(jnp.where(growing, m_k / m, jnp.e)) - 1, 0)
            share = gate * gaps[..., k] / (k * amplitude * values[..., j])
            q = rounds_until(m, m * share)
            t = rounds_until(m, m * m_k / (k * couplings[..., k, j])) - 1
            wait = jnp.maximum(jnp.maximum(p, q), t)
            earliest = jnp.maximum(earliest, jnp.ceil(rounds[j] + wait))
        rounds.append(earliest)
    return jnp.stack(rounds, axis=-1)


@jax.jit
def warm_up_rounds_printed(singular_values: jax.Array, rates: jax.Array) -> jax.Array:
    """s_1 = 1 and s_{k+1} = max_{k'<=k} ceil(max(p, t) + q + s_k'), as the source prints it:

        p = (k m_k + 1)/(1 - m_k),  t = What(m_k a_k)/a_k,
        q = What(T_{k+1}/(12 k s_k') a_k^2)/a_k',  a_k = ln(1/m_k).

    It has no burn-in: with contractions that hold from the first round on it implies the bound that
    `warm_up_rounds` proves, and with contractions that hold later it does not.

    Takes (..., K) and m (..., r), returns (..., r). Raises ValueError for an empty spectrum.
    Source: arXiv 2502.17615, theorem 2, with s in place of its eigenvalues.

    Example:
      >>> warm_up_rounds_printed(jnp.array([2.0, 1.0]), jnp.array([0.1, 0.6])).tolist()
      [1.0, 4.0]
    """
    values = as_spectrum(singular_values)
    gaps = spectral_gaps(values)
    rounds = [jnp.ones_like(rates[..., 0])]
    for k in range(1, rates.shape[-1]):
        m = rates[..., k - 1]
        base = jnp.maximum(rounds_until(m, m), (k * m + 1) / (1 - m))
        earliest = jnp.zeros_like(m)
        for j in range(k):
            level = gaps[..., k] / (12 * k * values[..., j]) * jnp.log(m) ** 2
            wait = base - lambert(level) / jnp.log(rates[..., j])
            earliest = jnp.maximum(earliest, jnp.ceil(wait + rounds[j]))
        rounds.append(earliest)
    return jnp.stack(rounds, axis=-1)


@jax.jit
def settled_bound(rates: jax.Array, warm_up: jax.Array, rounds, amplitude: float = 6.0):
    """A (l - s_k + 2) m_k^{l - s_k + 1}, the bound on G_{k,l} for l >= s_k - 1; +inf before.

    Args:
      rates: m (..., r). warm_up: s (..., r).
      rounds: l, (L,).
      amplitude: A.

    Returns:
      (..., L, r).

    Source: arXiv 2502.17615, theorem 2; arXiv 2605.10741.

    Example:
      >>> settled_bound(jnp.array([0.5]), jnp.array([3.0]), jnp.array([1, 2, 3]))[:, 0].tolist()
      [inf, 6.0, 6.0]
    """
    after = jnp.asarray(rounds)[:, None] - warm_up[..., None, :] + 1
    x = jnp.maximum(after, 0)
    return jnp.where(after >= 0, amplitude * (x + 1) * rates[..., None, :] ** x, jnp.inf)
