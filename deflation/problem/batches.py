"""Batches of columns on their way to the reduction: checked, and joined where they are narrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from deflation.problem import reduction, samples
from rankwise import checks


def summarised(batches: Iterable[tuple], rows: str | None = None) -> tuple:
    """All pairs of `columns` folded in float64, each when it arrives.

    Returns:
      r, z of `reduction.fold`, the size of what left the span of the inputs, the number of columns,
      the dtype of a problem of them, and the rounding of the inputs.

    Raises:
      ValueError: as `columns`, no pair, all-zero targets.
    """
    summary, dtype, left, count = None, None, 0.0, 0
    for x, y in columns(batches, rows):
        if summary is None:
            dtype = checks.float_dtype(np.result_type(x, y))
            rounding = _rounding(x)
            summary = reduction.nothing(np, x.shape[0], y.shape[0], np.float64)[:2]
        r, z, outside = reduction.fold(np, *summary, x.astype(np.float64), y.astype(np.float64))
        summary, count = (r, z), count + x.shape[1]
        left = reduction.together(np, left, outside)
    if summary is None:
        raise ValueError("batches is empty; allowed is at least one pair (x, y)")
    _require_targets(summary[1], left)
    return *summary, left, count, dtype, rounding


def summarised_targets(x, batches: Iterable, rows: str | None = None) -> tuple:
    """`summarised` of all columns of x (d, n), with the targets y (m_i, n) in parts.

    Raises:
      ValueError: no part, parts that do not fit x; the message has the part's number.
    """
    if not isinstance(batches, Iterable):
        raise ValueError(f"batches is {checks.shown(batches)}; allowed with x are targets y")
    parts, sizes, dtypes, q = [], [], [], None
    for number, y in enumerate(batches):
        inputs, targets = _pair(number, x, y, rows)
        if q is None:
            q, r = np.linalg.qr(inputs.T.astype(np.float64))
        part, outside = reduction.projected(np, q, targets.astype(np.float64))
        parts.append(part)
        sizes.append(outside)
        dtypes += [inputs.dtype, targets.dtype]
    if q is None:
        raise ValueError("batches is empty; allowed with x is at least one array y of targets")
    z, left = np.concatenate(parts), reduction.together(np, *sizes)
    _require_targets(z, left)
    return r, z, left, len(q), checks.float_dtype(np.result_type(*dtypes)), _rounding(inputs)


def columns(
    batches: Iterable[tuple], rows: str | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs x (d, n), y (m, n) of `batches`, joined until there are at least d columns.

    Pairs of x (n, d), y (n, m) with rows="samples".

    Raises:
      ValueError: no pairs, or pairs that do not fit together; the message has the batch's number.
    """
    return _grouped(checked(batches, rows))


def checked(batches: Iterable[tuple], rows: str | None):
    """The pairs x (d, n), y (m, n) of `batches` as they come, in columns.

    Raises:
      ValueError: as `columns`.
    """
    sizes = None
    if not isinstance(batches, Iterable):
        raise ValueError(f"batches is {checks.shown(batches)}; allowed are pairs (x, y)")
    for number, batch in enumerate(batches):
        try:
            x, y = batch
        except (TypeError, ValueError):
            raise ValueError(f"batch {number} has no two parts; allowed is a pair (x, y)") from None
        x, y = _pair(number, x, y, rows)
        if sizes not in (None, (x.shape[0], y.shape[0])):
            raise ValueError(
                f"batch {number} has {x.shape[0]} and {y.shape[0]} rows; "
                f"allowed are {sizes[0]} and {sizes[1]}, as in the batches before"
            )
        sizes = (x.shape[0], y.shape[0])
        yield x, y


def _pair(number: int, x, y, rows: str | None) -> tuple[np.ndarray, np.ndarray]:
    """x (d, n) and y (m, n) as arrays of numpy."""
    try:
        x, y = samples.in_columns(x, y, rows)
    except ValueError as error:
        raise ValueError(f"batch {number}: {error}") from None
    # Not through jax: without x64 it would round float64 columns before they are summed.
    x = np.asarray(checks.array(f"x of batch {number}", x))
    y = np.asarray(checks.array(f"y of batch {number}", y))
    for name, part in (("x", x), ("y", y)):
        checks.in_range(f"{name} of batch {number}", part, checks.float_dtype(part.dtype))
    try:
        checks.columns_match(x, y)
    except ValueError as error:
        raise ValueError(f"batch {number}: {error}") from None
    return x, y


def _rounding(x: np.ndarray) -> float:
    """The distance of neighbouring numbers at 1 of the inputs' dtype."""
    return np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps


def _require_targets(z: np.ndarray, left: float) -> None:
    if left == 0 and not z.any():
        raise ValueError("y is all zeros; allowed is a target with something to learn")


def _grouped(batches):
    """Joins small batches until there are at least d columns: one QR then costs O(d) a column."""
    waiting, width = [], 0
    for x, y in batches:
        # Copies: who makes the batches may fill one array anew for each.
        waiting.append((x.copy(), y.copy()))
        width += x.shape[1]
        if width >= x.shape[0]:
            yield _joined(waiting)
            waiting, width = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(pairs) -> tuple[np.ndarray, np.ndarray]:
    if len(pairs) == 1:
        return pairs[0]
    return tuple(np.concatenate(part, axis=1) for part in zip(*pairs, strict=True))
