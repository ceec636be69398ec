"""The power by which a number grows with a size, read off two sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def measured_power(values: Sequence[np.ndarray], sizes: Sequence[float]) -> np.ndarray:
    """p for which values[i] = c sizes[i]^p, i = 0, 1: ln(v_1/v_0) / ln(n_1/n_0).

    Example:
      >>> float(measured_power((np.array(3.0), np.array(12.0)), (1, 2)))
      2.0
    """
    return np.log(values[1] / values[0]) / np.log(sizes[1] / sizes[0])
