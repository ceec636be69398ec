"""What R components of n maps leave over: the best choice of ranks beside equal ones.

Legend: map p of n has singular values s_pi, descending, here c_p i^{-a} (power) or c_p q^i
(exponential) for i = 1, 2, ... without end; a choice of ranks r_p, sum_p r_p = R = n r, leaves
sum_p sum_{i > r_p} s_pi^2. M_k(c) = (mean_p c_p^k)^{1/k} is the power mean, M_0 the geometric one.
Everything here is numpy, float64.
"""

from __future__ import annotations

import numpy as np
import scipy.special


def power_mean(scales: np.ndarray, order: np.ndarray | float) -> np.ndarray:
    """M_k(c) = (mean_p c_p^k)^{1/k} over the last axis; exp(mean log c) for k = 0.

    Args:
      scales: c > 0 (..., n). order: k (...).

    Returns:
      (...).

    Example:
      >>> scales = np.array([1.0, 4.0])
      >>> float(power_mean(scales, 0)), float(power_mean(scales, 1))
      (2.0, 2.5)
    """
    logs = np.log(scales)
    order = np.asarray(order, float)[..., None]
    usual = np.where(order == 0, 1.0, order)
    means = scipy.special.logsumexp(usual * logs, axis=-1) - np.log(logs.shape[-1])
    return np.exp(np.where(order[..., 0] == 0, np.mean(logs, axis=-1), means / usual[..., 0]))


def gain(scales: np.ndarray, slope: np.ndarray | float) -> np.ndarray:
    """(M_{1/a}(c) / M_2(c))^2: what the best ranks leave over what equal ranks leave, for many.

    1 where scales are equal, and for slopes near 1/2 whatever the scales; for steep spectra it
    falls to (M_0/M_2)^2. For log-normal scales see `gain_lognormal`.

    Args:
      scales: c (..., n). slope: a > 1/2 (...), infinite for exponential spectra.

    Source: derived here. With r_p large, sum_{i > r_p} i^{-2a} ~ r_p^{1-2a} / (2a - 1); of all r_p
    of one sum the least sum_p c_p^2 r_p^{1-2a} has r_p ~ c_p^{1/a}.

    Example:
      >>> [round(float(gain(np.array([1.0, 4.0]), a)), 3) for a in (0.5, 1.0, np.inf)]
      [1.0, 0.735, 0.471]
    """
    order = 1 / np.asarray(slope, float)
    return (power_mean(scales, order) / power_mean(scales, 2)) ** 2


def gain_lognormal(slope: np.ndarray | float, spread: np.ndarray | float) -> np.ndarray:
    """exp(-(2 - 1/a) t^2), the `gain` of scales whose logarithms have the standard deviation t.

    Source: M_k(c) = exp(mean + k t^2/2).

    Example:
      >>> float(gain_lognormal(0.5, 1.0)), round(float(gain_lognormal(0.6, 0.35)), 3)
      (1.0, 0.96)
    """
    return np.exp(-(2 - 1 / np.asarray(slope, float)) * np.square(spread))


def specht(most: np.ndarray | float) -> np.ndarray:
    """S(h) = h^{1/(h-1)} / (e log h^{1/(h-1)}): the arithmetic over the geometric mean, at most, of
    numbers whose largest is h > 1 times their smallest.

    Source: Specht (1960), Zur Theorie der elementaren Mittel.

    Example:
      >>> [round(float(specht(h)), 3) for h in (1.01, 4.0, 25.0)]
      [1.0, 1.264, 3.137]
    """
    part = np.log(most) / (np.asarray(most, float) - 1)
    return np.exp(part - 1) / part


def fitted(values: np.ndarray) -> tuple[float, np.ndarray]:
    """a and c of c_p i^{-a}, one slope for all maps, by least squares of the logarithms.

    Args:
      values: s_pi > 0 (n, k), the first k of every map, k > 1.

    Returns:
      a, and c (n,).

    Example:
      >>> slope, scales = fitted(np.array([[1.0], [2.0]]) * np.arange(1, 5) ** -0.5)
      >>> round(float(slope), 6), scales.round(6).tolist()
      (0.5, [1.0, 2.0])
    """
    numbers, logs = np.log(np.arange(1, values.shape[1] + 1)), np.log(values)
    centred = numbers - np.mean(numbers)
    slope = -np.mean(logs @ centred) / (centred @ centred)
    return float(slope), np.exp(np.mean(logs, axis=1) + slope * np.mean(numbers))


def power_left(scales: np.ndarray, slope: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """sum_p c_p^2 sum_{i > r_p} i^{-2a}, by Hurwitz' zeta function.

    Args:
      scales: (..., n). slope: a > 1/2 (...). ranks: r (..., n).

    Example:
      >>> one = power_left(np.array([1.0]), np.array(1.0), np.array([0]))
      >>> bool(np.isclose(one, np.pi**2 / 6))
      True
    """
    tails = scipy.special.zeta(2 * np.asarray(slope)[..., None], ranks + 1.0)
    return np.sum(scales**2 * tails, axis=-1)


def exponential_left(scales: np.ndarray, ratio: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """sum_p c_p^2 sum_{i > r_p} q^{2i} = sum_p c_p^2 q^{2 r_p + 2} / (1 - q^2).

    Args:
      scales: (..., n). ratio: q in (0, 1) (...). ranks: r (..., n).

    Example:
      >>> exponential_left(np.array([1.0]), np.array(0.5), np.array([0])).round(4)
      np.float64(0.3333)
    """
    square = np.asarray(ratio)[..., None] ** 2
    return np.sum(scales**2 * square ** (ranks + 1) / (1 - square), axis=-1)


def power_bounds(
    scales: np.ndarray, slope: np.ndarray, rank: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds of what the best ranks leave over what equal ranks r leave, of power laws.

        gain (1 + 1/r)^{1-2a}  <=  best / equal  <=  gain ((1 + 1/r) / (1 - 1/x))^{2a-1},

    the upper one where x = min_p x_p > 1, x_p = R c_p^{1/a} / sum_p c_p^{1/a} the ranks that are
    best if they need not be whole. Both go to `gain` as r grows.

    Args:
      scales: (..., n). slope: a > 1/2 (...). rank: r (...).

    Returns:
      lower, upper and x, (...) each; upper is infinite where x <= 1.

    Source: derived here, from r^{1-2a} >= (2a - 1) sum_{i > r} i^{-2a} >= (r + 1)^{1-2a}.

    Example:
      >>> low, high, _ = power_bounds(np.array([1.0, 2.0]), np.array(1.0), np.array(100.0))
      >>> float(low.round(3)), float(high.round(3))
      (0.891, 0.923)
    """
    power = 2 * slope - 1
    limit, shares = gain(scales, slope), scales ** (1 / slope[..., None])
    least = rank * shares.shape[-1] * np.min(shares / np.sum(shares, -1, keepdims=True), -1)
    below = np.where(least > 1, 1 - 1 / np.maximum(least, 1), 0.0)
    with np.errstate(divide="ignore"):
        upper = limit * ((1 + 1 / rank) / below) ** power
    return limit * (1 + 1 / rank) ** -power, upper, least
