"""A mean of few numbers and how well it is known."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


def mean_interval(values) -> tuple[float | None, float | None]:
    """The mean of n values and the half width of its 95% interval, t(n - 1) std / sqrt(n).

    Student's: exact for independent normal values. None for what too few values leave unknown.

    Example:
      >>> mean, half = mean_interval([1.0, 2.0, 3.0])
      >>> mean, round(half, 3), mean_interval([1.0]), mean_interval([])
      (2.0, 2.484, (1.0, None), (None, None))
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        return None, None
    if len(values) < 2:
        return float(values[0]), None
    quantile = stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)
    return float(values.mean()), float(quantile * values.std(ddof=1) / len(values) ** 0.5)
