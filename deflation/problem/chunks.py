"""Moments of data that lie in chunks on other machines, by any scheduler of dask."""

from __future__ import annotations

import numpy as np

from deflation.problem.moments import Moments
from deflation.problem.samples import ROWS
from rankwise import checks


def moments(x, y, rows: str) -> Moments:
    """Moments of every chunk where it lies, joined in pairs; only the last come home.

    Raises:
      ValueError: see `Regression.from_dask`.
    """
    import dask

    checks.choice("rows", rows, ROWS)
    x, y = _array("x", x), _array("y", y)
    if rows == "features":
        x, y = x.T, y.T
    if y.ndim == 1:
        y = y[:, None]
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0]:
        raise ValueError(
            f"x has shape {x.shape} and y has shape {y.shape} with samples in rows; allowed are "
            "two matrices with the same number of them, or rows='features'"
        )
    x = x.rechunk({1: -1})
    y = y.rechunk({0: x.chunks[0], 1: -1})
    part, join = dask.delayed(_part), dask.delayed(Moments.joined)
    chunks = zip(x.to_delayed().ravel(), y.to_delayed().ravel(), x.chunks[0], strict=True)
    parts = [part(a, b) for a, b, count in chunks if count]
    if not parts:
        raise ValueError(f"x has shape {x.shape}; allowed is at least one sample")
    while len(parts) > 1:
        pairs = [join(a, b) for a, b in zip(parts[:-1:2], parts[1::2], strict=False)]
        parts = pairs + parts[2 * len(pairs) :]
    return parts[0].compute()


def _array(name: str, value):
    import dask.array

    if hasattr(value, "to_dask_array"):
        return value.to_dask_array(lengths=True)
    if not isinstance(value, dask.array.Array):
        raise ValueError(
            f"{name} is {checks.shown(value)}; allowed are arrays and frames of dask, others are "
            "for from_data"
        )
    if np.isnan(value.shape).any():
        value = value.compute_chunk_sizes()
    return value


def _part(x, y) -> Moments:
    return Moments.of(checks.array("a chunk of x", x).T, checks.array("a chunk of y", y).T)
