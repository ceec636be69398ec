"""Gradient descent on products of layers from a small start learns one component after the other.

Legend: loss ||W_L ... W_1 - M||_F^2 / 2 by steps of size eta; M has singular triples s_k, u_k, v_k;
M_k its best approximation of rank k. A start is aligned where every layer has the same singular
values alpha^{1/L} and fits its neighbours: then the product keeps the directions of M, and its
singular values sigma_k follow their own equation,

    L layers, the root u = sigma^{1/L}:   u(t + 1) = u(t) + eta u(t)^{L-1} (s - u(t)^L).

Time is a number of steps. All functions are elementwise, broadcast, and keep float64.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def descent(values: Array, start: Array, step: float, times: Array, depth: int = 2) -> Array:
    """sigma_k after each number of steps in `times`, by the equation of the legend.

    Args:
      values: s_k (..., K).
      start: alpha (..., 1) or a number.
      step: eta.
      times: increasing whole numbers (T,).

    Returns:
      (T, ..., K).

    Example:
      >>> descent(np.array([2.0, 1.0]), 1e-3, 0.05, np.array([60, 400])).round(2).tolist()
      [[1.98, 0.26], [2.0, 1.0]]
    """
    root = np.broadcast_to(np.asarray(start, float) ** (1 / depth), np.shape(values)).copy()
    kept, done = [], 0
    for time in times:
        for _ in range(int(time) - done):
            root = root + step * root ** (depth - 1) * (values - root**depth)
        done = int(time)
        kept.append(root**depth)
    return np.array(kept)


def flow(values: Array, start: Array, time: Array) -> Array:
    """sigma(t) = s / (1 + (s / alpha - 1) e^{-2 s t}): two layers and steps that vanish.

    Args:
      time: the sum of the steps, eta times their number.

    Source: Saxe, McClelland, Ganguli, arXiv 1312.6120, equation 7.

    Example:
      >>> float(flow(1.0, 0.01, np.log(99) / 2).round(6))  # the time at which half is learned
      0.5
    """
    return values / (1 + (values / start - 1) * np.exp(-2 * values * time))


def flow_error(values: Array, step: float, time: Array) -> Array:
    """How far two-layer steps are from `flow`, to first order in eta: s/4 times eta s^2 t.

    A step multiplies sigma by (1 + eta s)^2 where sigma is small, and the flow by e^{2 eta s}: the
    logarithm of sigma / (s - sigma) falls behind by eta s^2 t at most, and sigma moves by at most
    s/4 of that.
    """
    return values / 4 * step * values**2 * time


def missing(values: Array, start: Array, step: float, steps: Array) -> Array:
    """Bound of s - sigma after some steps of two layers: s (s - alpha) / alpha (1 + eta s)^{-2 t}.

    Proof: with x = 2 eta sigma + eta^2 sigma (s - sigma) < 1 one step turns the ratio
    sigma / (s - sigma) into (1 + eta (s - sigma))^2 / (1 - x) times itself, and 1 / (1 - x) >=
    1 + x + x^2; multiplied out, this is at least (1 + eta s)^2. As long as sigma <= s the ratio is
    at least alpha / (s - alpha) (1 + eta s)^{2 t}, and s - sigma <= s / ratio.
    """
    return values * (values - start) / start * (1 + step * values) ** (-2.0 * steps)


def grown(values: Array, start: Array, step: float, steps: Array) -> Array:
    """Bound of sigma after some steps of two layers: alpha (1 + eta s)^{2 t}.

    Proof: a step multiplies sigma by (1 + eta (s - sigma))^2.
    """
    return start * (1 + step * values) ** (2.0 * steps)


def plateau(values: Array, start: Array, step: float, steps: Array) -> Array:
    """Bound of ||W_2 W_1 - M_k||_F for k = 1..K-1, by `missing` and `grown`.

    Args:
      values: (..., K); start (..., 1); steps (..., 1).

    Returns:
      (..., K - 1).
    """
    first = np.cumsum(missing(values, start, step, steps) ** 2, axis=-1)[..., :-1]
    leaked = grown(values, start, step, steps) ** 2
    rest = np.cumsum(leaked[..., ::-1], axis=-1)[..., -2::-1]
    return np.sqrt(first + rest)


def plateau_exponent(values: Array) -> Array:
    """The least distance to M_k on the way falls as alpha^p: p = (s_k - s_{k+1})/(s_k + s_{k+1}).

    Proof: to leading order it is the least of s_k^2/alpha e^{-2 s_k t} + alpha e^{2 s_{k+1} t} over
    t, and both are equal where e^{2 (s_k + s_{k+1}) t} = s_k^2 / alpha^2.

    Example:
      >>> plateau_exponent(np.array([3.0, 1.0])).tolist()
      [0.5]
    """
    here, later = values[..., :-1], values[..., 1:]
    return (here - later) / (here + later)


def growth_ahead(values: Array, depth: int) -> Array:
    """sigma_{k+1} / alpha when sigma_k arrives, in three or more layers and as alpha -> 0.

    (1 - s_{k+1}/s_k)^{-L/(L-2)}: a constant, where two layers have (s_k/alpha)^{s_{k+1}/s_k}.

    Proof: far from the end u' = s u^{L-1}, so u^{2-L} falls from alpha^{(2-L)/L} by (L - 2) s per
    unit of time, reaches zero for s_k at t = alpha^{(2-L)/L} / ((L - 2) s_k), and the other root
    has then u^{2-L} = alpha^{(2-L)/L} (1 - s_{k+1}/s_k).

    Example:
      >>> growth_ahead(np.array([2.0, 1.0]), 3).tolist()
      [8.0]
    """
    ratio = values[..., 1:] / values[..., :-1]
    return (1 - ratio) ** (-depth / (depth - 2))


def escape_exponent(values: Array) -> Array:
    """How the angle to (u_{k+1}, v_{k+1}) at the escape from M_k falls with the size of a start.

    Two layers that have learned M_k, plus eps times anything: when component k + 1 has half its
    size, W_2 W_1 - M_k points to it up to an angle of order eps^{1 - s_{k+2}/s_{k+1}}.

    Proof: while they are small, the parts of the layers along component j grow as eps e^{s_j t};
    the first to arrive does so at e^{s_{k+1} t} = 1/eps, and the next is then eps^{1 - ratio}.

    Args:
      values: (..., K).

    Returns:
      (..., K - 1), for k = 0..K-2.

    Example:
      >>> escape_exponent(np.array([4.0, 1.0])).tolist()
      [0.75]
    """
    return 1 - values[..., 1:] / values[..., :-1]
