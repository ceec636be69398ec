"""Data as their owners hold them, to arrays with a sample in every column: frames, sparse, rows."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rankwise import checks

ROWS = ("features", "samples")


def in_columns(x, y, rows: str | None) -> tuple[Any, Any]:
    """x (d, n) and y (m, n), dense or of scipy.sparse, of what `rows` says the rows are.

    Frames of pandas and polars become arrays, JAX's BCOO a matrix of scipy.sparse; anything else is
    left for `checks.array` to judge. With rows="samples" a y of one axis is one target. None is
    "features" of arrays; frames are mostly the other way, and nobody guesses.

    Raises:
      ValueError: other rows than `ROWS`, frames without it, a column of a frame that is not
        numeric, different numbers of samples, the same labels of samples in another order.

    Example:
      >>> x, y = in_columns(np.ones((4, 2)), np.ones(4), "samples")
      >>> x.shape, y.shape
      ((2, 4), (1, 4))
    """
    if rows is None:
        for name, value in (("x", x), ("y", y)):
            if _is_frame(value):
                raise ValueError(
                    f"{name} is a frame and rows is None; allowed are rows='samples' and "
                    "rows='features', whichever its rows are"
                )
        rows = "features"
    checks.choice("rows", rows, ROWS)
    _require_order(x, y, "index" if rows == "samples" else "columns")
    x, y = _array("x", x, rows), _array("y", y, rows)
    if rows == "features":
        return x, y
    if np.ndim(y) == 1:
        y = y[:, None]
    if np.shape(x)[:1] != np.shape(y)[:1]:
        raise ValueError(
            f"x has shape {np.shape(x)} and y has shape {np.shape(y)}; allowed with rows='samples' "
            "is the same number of rows"
        )
    return x.T, y.T


def check_sparse(name: str, value) -> None:
    """Raises ValueError for entries of a matrix of scipy.sparse that `checks.array` refuses."""
    if checks.is_sparse(value) and value.nnz:
        checks.array(name, value.tocoo().data[None])


def _require_order(x, y, axis: str) -> None:
    """Refuses frames of pandas whose samples have the same labels in another order."""
    there, own = getattr(x, axis, None), getattr(y, axis, None)
    if not (hasattr(there, "equals") and hasattr(own, "equals")) or there.equals(own):
        return
    if there.is_unique and len(there) == len(own) and there.isin(own).all():
        raise ValueError(
            "x and y have the same labels of samples in another order; allowed is one order of "
            f"both, as that of y.reindex({axis}=x.{axis})"
        )


def _array(name: str, value, rows: str):
    if _is_frame(value):
        return np.column_stack([_column(name, value, column) for column in value.columns])
    if type(value).__module__.startswith("jax.experimental.sparse"):
        return _of_jax(name, value)
    ready = checks.is_sparse(value) or isinstance(value, jax.Array | np.ndarray)
    return value if ready or rows == "features" else np.asarray(value)


def _is_frame(value) -> bool:
    return hasattr(value, "columns") and hasattr(value, "to_numpy")


def _column(name: str, frame, column) -> np.ndarray:
    values = np.asarray(frame[column])
    if values.dtype.kind not in "iubf":
        raise ValueError(
            f"column {column!r} of {name} holds {frame[column].dtype}; allowed are real numbers "
            "without gaps"
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"column {column!r} of {name} is {values[row]} in row {row}; allowed are finite numbers"
        )
    return values


def _of_jax(name: str, value):
    from scipy.sparse import coo_array

    if not hasattr(value, "indices") or getattr(value, "n_batch", 1) or value.n_dense:
        raise ValueError(f"{name} is a {type(value).__name__}; allowed is a BCOO of two axes")
    if checks.traced(value.data, value.indices):
        raise ValueError(f"{name} is traced; allowed is a BCOO of numbers")
    indices = np.asarray(value.indices)
    inside = (indices < np.array(value.shape)).all(axis=1)  # BCOO pads with what is outside
    entries = np.asarray(value.data)[inside]
    return coo_array((entries, tuple(indices[inside].T)), shape=value.shape)
