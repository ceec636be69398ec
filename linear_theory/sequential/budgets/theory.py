"""Which division of the steps leaves the least error, and what errors it is about.

Legend: M has singular values s_k; component k is b_k a_k^T of M_k = M - sum_{j<k} b_j a_j^T; t_k
steps leave psi_k(t_k) = c_k q_k^{t_k} of it, lambda_k = -log q_k. An alternating step is
a <- M_k^T b / |.|, b <- M_k a, whose rate is q_k = (s_{k+1} / s_k)^2. All functions work on the
last axis and keep float64.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def left_over(errors: Array, rates: Array, steps: Array) -> Array:
    """sum_k c_k q_k^{t_k}.

    Example:
      >>> float(left_over(np.array([1.0, 1.0]), np.array([0.5, 0.25]), np.array([2, 1])))
      0.5
    """
    return np.sum(errors * rates**steps, axis=-1)


def water_filling(errors: Array, rates: Array, total: float) -> Array:
    """Real t_k >= 0 that minimise sum_k c_k q_k^{t_k} with sum_k t_k = total.

    t_k = max(0, log(c_k lambda_k / mu) / lambda_k): where t_k > 0 all derivatives are -mu.

    Example:
      >>> water_filling(np.array([1.0, 1.0]), np.array([0.5, 0.5]), 10.0).round(6).tolist()
      [5.0, 5.0]
    """
    fall = -np.log(rates)
    top = np.log(errors * fall)
    high = np.max(top, axis=-1, keepdims=True)
    low = np.min(top, axis=-1, keepdims=True) - total * np.max(fall)
    for _ in range(200):
        level = (low + high) / 2
        over = np.sum(np.maximum(top - level, 0) / fall, axis=-1, keepdims=True) > total
        low, high = np.where(over, level, low), np.where(over, high, level)
    return np.maximum(top - high, 0) / fall


def head_start(sweeps: int = 1) -> float:
    """t_k - t_{k+1} of the optimum for a geometric spectrum, s_{k+1} = q s_k and c_k = s_k.

    log(s_k / s_{k+1}) / lambda = 1 / (2 sweeps), whatever q, the rank and the total are: a longer
    run divides its steps more evenly.

    Example:
      >>> head_start()
      0.5
    """
    return 1 / (2 * sweeps)


def outside(target: Array, directions: Array) -> Array:
    """||M (I - P)||_F, P the projector on the span of rows a_1..a_r (..., r, d).

    It is the error ||M - sum_k b_k a_k^T||_F of any sequence of steps that end with b_k = M_k a_k:
    M_{k+1} = M_k (I - a_k a_k^T) maps a_1..a_k to zero, and a_k is in the row space of M_k, so the
    a_k are orthonormal and the error is M (I - sum_k a_k a_k^T). So what a step takes of a later
    component is no loss if a later step takes the rest.
    """
    frame = np.linalg.qr(np.swapaxes(directions, -1, -2))[0]
    rest = target - target @ frame @ np.swapaxes(frame, -1, -2)
    return np.linalg.norm(rest, axis=(-2, -1))
