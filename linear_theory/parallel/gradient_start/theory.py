"""All workers of parallel deflation from the singular vectors of one gradient.

Legend: Y = W X with H^2 = X X^T, M = W H the whitened target, s_k its singular values, T_k = s_k -
s_{k+1}, R*_k its components; -dL/dW at W = 0 is G = W H^2 = M H. Worker k starts at the k-th
component of G, R_{k,0} = s_k(G) u_k (H v_k)^T in whitened coordinates; eps = ||H - I||_2, which for
N Gaussian inputs of dimension d is about sqrt(d/N).

White inputs start every worker at its answer. In general worker k begins behind a mismatch delta_k
= ||sum_{j<k} (R_{j,0} - R*_j)||, and with [A]_r the best approximation of rank r,

    sum_{j<k} R_{j,0} = [M H]_{k-1} H,   ||[M H]_{k-1} H - [M]_{k-1}|| <= ||[M H]_{k-1}|| eps
                                                              + ||[M H]_{k-1} - [M]_{k-1}||

of which the first is at most sqrt(k-1) (1 + eps) s_1 eps, and the second, by perturbation of the
truncation with ||M H - M||_2 <= s_1 eps <= T_{k-1}/2, sqrt(k-1) (3 + 4 s_k/T_{k-1}) s_1 eps. When
this is below the radius of its gate, T_k/(2 sqrt(2)), the worker contracts from the first round on.
"""

from __future__ import annotations

import numpy as np


def start_mismatch(values: np.ndarray, eps: np.ndarray, rank: int) -> np.ndarray:
    """sqrt(k-1) (4 + eps + 4 s_k/T_{k-1}) s_1 eps >= delta_k, k = 2, ..., rank.

    Args:
      values: (..., K), K > rank. eps: (...).

    Returns:
      (..., rank - 1), +inf where s_1 eps > T_{k-1}/2.

    Source: proved above, from arXiv 2502.01235, proposition 3.3, and arXiv 2502.17615.

    Example:
      >>> start_mismatch(np.array([1.0, 0.5, 0.1]), np.array(0.01), 2).round(4).tolist()
      [0.0801]
    """
    size = values[..., :1] * eps[..., None]
    gaps = -np.diff(values, axis=-1)[..., : rank - 1]
    before = np.sqrt(np.arange(1, rank))
    bound = before * (4 + eps[..., None] + 4 * values[..., 1:rank] / gaps) * size
    return np.where(size <= gaps / 2, bound, np.inf)
