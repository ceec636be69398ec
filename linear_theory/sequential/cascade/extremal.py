"""The error of a first rank-one step that the steps after it amplify most.

Legend: M with singular values s_1 > s_2 > s_3, T = s_2 - s_3; the first step takes b a^T, its error
is psi = ||b a^T - R_1||, and the second is exact; D = M_2 - (b a^T + R(M - b a^T)) is the mismatch
of the residuals after it; theta = psi/T and rho = 1 + s_2/s_1.

To first order a rank-one error is never amplified (`cascade.first_order_rank_one`). To second order
it turns the following component by psi^2/T, which at theta of order one is as much as psi:

    b = e_1 + T z/s_1,  a = s_1 e_1 - T z,   z = (0, z_2, z_3):    psi^2 = 2 T^2 (z_2^2 + z_3^2)

leaves on the axes 2 and 3 of Y^T Y and of Y Y^T, Y = M - b a^T, the matrix D^2 + 2 rho T^2 z z^T,
whose leading vector is turned by rho T z_2 z_3/s_2. So, as T -> 0,

    ||D||^2 = 2 T^2 z_3^2 (1 + rho^2 z_2^2),  largest at z_2^2 = theta^2/4 - 1/(2 rho^2)

and the second component itself is off by as much, with z_2 and z_3 exchanged:

    ||R(M - b a^T) - R_2||^2 = 2 T^2 z_2^2 (1 + rho^2 z_3^2)

Gradient ascent over the factors of all steps from random starts finds this error, and nothing above
the ratio (tests/linear_theory/sequential/cascade/test_extremal.py); that nothing is, is observed.
"""

from __future__ import annotations

import numpy as np


def threshold(rho: np.ndarray) -> np.ndarray:
    """psi/T from which on the mismatch exceeds psi: sqrt(2)/rho, at least 1/sqrt(2).

    Example:
      >>> round(float(threshold(np.array(2.0))), 3)
      0.707
    """
    return np.sqrt(2) / rho


def extremal_ratio(theta: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """||D||/psi as T -> 0: (1 + (rho theta)^2/2) / (sqrt(2) rho theta), and 1 below the threshold.

    Example:
      >>> extremal_ratio(np.array([0.5, 1.0]), np.array(2.0)).round(4).tolist()
      [1.0, 1.0607]
    """
    size = rho * theta / np.sqrt(2)
    return np.where(size > 1, (1 + size**2) / (2 * np.where(size > 1, size, 1)), 1.0)


def extremal_step(
    values: np.ndarray, theta: np.ndarray, component: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """b, a (..., K) of the first step on M = diag(values), for theta above the threshold.

    Args:
      values: (..., K), K >= 3. theta: psi/T (...).
      component: worst for the second component, not for what is left after it.

    Example:
      >>> b, a = extremal_step(np.array([1.0, 0.9, 0.8]), np.array(1.0))
      >>> (b + a).round(3).tolist()
      [2.0, 0.0, 0.0]
    """
    largest, second, third = np.moveaxis(values[..., :3], -1, 0)
    rho, gap = 1 + second / largest, second - third
    onto_second = np.maximum(theta**2 / 4 - 1 / (2 * rho**2), 0)
    shares = onto_second, theta**2 / 2 - onto_second
    move = np.zeros_like(values)
    for axis, share in enumerate(reversed(shares) if component else shares, start=1):
        move[..., axis] = gap * np.sqrt(share)
    first = np.eye(values.shape[-1])[0]
    return first + move / largest[..., None], largest[..., None] * first - move
