"""Maps of low rank whose outputs count unequally, or may be shifted.

Legend: as in `directions`: W (in, out) a kernel, y = x W + c, T and S metrics of its inputs; L
(out, out) the metric of its outputs, such as their Fisher information, or Q Q^T of the queries that
meet these keys; mu (in,) the mean of the inputs.
"""

from __future__ import annotations

import numpy as np

from finetune.adapters.method import Factors
from finetune.compression import directions
from rankwise import checks


def oblique(kernel: np.ndarray, metric: np.ndarray, left: np.ndarray, rank: int) -> Factors:
    """min tr L (W - V)^T T (W - V) over V of that rank, which is W L^(1/2) U_r U_r^T L^(-1/2).

    U_r are the leading eigenvectors of L^(1/2) W^T T W L^(1/2).

    Args:
      kernel: W (in, out).
      metric: T (in, in), of `directions.metric`.
      left: L (out, out), symmetric and positive definite.
      rank: r >= 0.

    Returns:
      a (in, r), b (r, out); every prefix is the best of its rank.

    Raises:
      ValueError: an L of another size, not symmetric, not finite or not positive definite.

    Source: Eckart and Young (1936) for T^(1/2) W L^(1/2).

    Example:
      >>> a, b = oblique(np.diag([1.0, 2.0]), np.eye(2), np.diag([9.0, 1.0]), 1)
      >>> (a @ b).round(6).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    left, size = np.asarray(checks.array("left", left), np.float64), kernel.shape[1]
    if left.shape != (size, size):
        raise ValueError(f"left has shape {left.shape}; allowed is {(size, size)}, of the outputs")
    if (gap := abs(left - left.T).max()) > 1e-4 * abs(left).max():
        raise ValueError(f"left differs from its transpose by {gap:.2g}; allowed is a metric")
    values, vectors = np.linalg.eigh((left + left.T) / 2)
    if values[0] <= size * np.finfo(np.float64).eps * values[-1]:
        raise ValueError(
            f"left has the eigenvalue {values[0]:.3g}; allowed are those above rounding of the "
            f"largest, {values[-1]:.3g}: add a share of its mean to the diagonal"
        )
    roots = np.sqrt(values)
    a, b = directions.leading(kernel @ (vectors * roots), metric).factors(rank)
    return Factors(a, b / roots @ vectors.T)


def shifted(
    kernel: np.ndarray, gram: np.ndarray, mean: np.ndarray, rank: int
) -> tuple[Factors, np.ndarray]:
    """min ||X (W - V) - 1 c^T||_F over V of that rank and a change c of the bias.

    The moments are centred, S - mu mu^T, and c = mu (W - V). Never worse than without c; a tenth of
    a percent of the cosine of all-MiniLM-L6-v2's vectors.

    Args:
      kernel: W (in, out).
      gram: S = X^T X / n (in, in).
      mean: mu (in,).
      rank: r >= 0.

    Returns:
      The factors, and c (out,) to add to the bias.

    Example:
      >>> x = np.array([[1.0, 3.0], [-1.0, 3.0]])
      >>> factors, shift = shifted(np.eye(2), x.T @ x / 2, x.mean(axis=0), 1)
      >>> (factors.a @ factors.b).round(6).tolist(), shift.round(6).tolist()
      ([[1.0, 0.0], [0.0, 0.0]], [0.0, 3.0])
    """
    mean = np.asarray(mean, np.float64)
    if mean.shape != (len(gram),):
        raise ValueError(f"mean has shape {mean.shape}; allowed is ({len(gram)},), of the inputs")
    best = directions.leading(kernel, gram - np.outer(mean, mean)).factors(rank)
    return best, mean @ (kernel - best.a @ best.b)
