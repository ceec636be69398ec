"""Batches of columns on their way to the reduction: checked, and joined where they are narrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from rankwise import checks


def columns(batches: Iterable[tuple]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs x (d, n), y (m, n) of `batches`, joined until there are at least d columns.

    Raises:
      ValueError: no pairs, or pairs that do not fit together; the message has the batch's number.
    """
    return _grouped(_checked(batches))


def _checked(batches: Iterable[tuple]):
    rows = None
    if not isinstance(batches, Iterable):
        raise ValueError(f"batches is {checks.shown(batches)}; allowed are pairs (x, y)")
    for number, batch in enumerate(batches):
        try:
            x, y = batch
        except (TypeError, ValueError):
            raise ValueError(f"batch {number} has no two parts; allowed is a pair (x, y)") from None
        # Not through jax: without x64 it would round float64 columns before they are summed.
        x = np.asarray(checks.array(f"x of batch {number}", x))
        y = np.asarray(checks.array(f"y of batch {number}", y))
        for name, part in (("x", x), ("y", y)):
            checks.in_range(f"{name} of batch {number}", part, checks.float_dtype(part.dtype))
        checks.columns_match(x, y)
        if rows not in (None, (x.shape[0], y.shape[0])):
            raise ValueError(
                f"batch {number} has {x.shape[0]} and {y.shape[0]} rows; "
                f"allowed are {rows[0]} and {rows[1]}, as in the batches before"
            )
        rows = (x.shape[0], y.shape[0])
        yield x, y


def _grouped(batches):
    """Joins small batches until there are at least d columns: one QR then costs O(d) a column."""
    held, width = [], 0
    for x, y in batches:
        held.append((x, y))
        width += x.shape[1]
        if width >= x.shape[0]:
            yield tuple(np.concatenate(part, axis=1) for part in zip(*held, strict=True))
            held, width = [], 0
    if held:
        yield tuple(np.concatenate(part, axis=1) for part in zip(*held, strict=True))
