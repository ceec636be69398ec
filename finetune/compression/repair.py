"""The adapter that brings a network of rounded weights nearest to the one it was rounded from.

Legend: W (in, out) a kernel, Q its rounded form by any quantiser, S = X^T X / n of its inputs.

    min ||X (W - Q - a b)||_F  over a (in, r), b (r, out)

is `directions.leading` of W - Q. Without S, or with T = I, it is the plain singular value
decomposition of W - Q, which knows nothing of the inputs.

Source: Zhang et al. (2024), QERA, theorem 1, there with a root of S and its inverse; T = I is the
first step of Li et al. (2023), LoftQ.
"""

from __future__ import annotations

import numpy as np

from finetune.adapters.method import Factors
from finetune.compression import directions


def repaired(
    kernel: np.ndarray, rounded: np.ndarray, rank: int, metric: np.ndarray | None = None
) -> Factors:
    """a (in, r), b (r, out) of orthonormal rows; every prefix is the best of its rank.

    Args:
      kernel: W (in, out).
      rounded: Q (in, out).
      rank: r >= 0; at most min(in, out) are returned.
      metric: T (in, in), of `directions.metric`; None for I.

    Example:
      >>> kernel, rounded = np.diag([1.4, 0.7]), np.diag([1.0, 1.0])
      >>> a, b = repaired(kernel, rounded, 1, np.diag([1.0, 9.0]))
      >>> (a @ b).round(6).tolist()
      [[0.0, 0.0], [0.0, -0.3]]
    """
    residual = np.asarray(kernel, np.float64) - rounded
    metric = np.eye(len(residual)) if metric is None else metric
    return directions.leading(residual, metric).factors(rank)
