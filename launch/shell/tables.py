"""Plain text tables: columns as wide as their widest cell, numbers to the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

GAP = "  "


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lines of text: the header, a rule, one line per row.

    Floats show four significant digits, NaN and None a dash. A column of numbers is aligned to the
    right.

    Raises:
      ValueError: if a row does not have one cell per column.

    Example:
      >>> print(table(("claim", "trials"), [("weyl", 8)]))
      claim  trials
      -----  ------
      weyl        8
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} cells; the header has {len(header)}")
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    texts = [[cell(value) for value in column] for column in columns]
    widths = [max(map(len, [head, *text])) for head, text in zip(header, texts, strict=True)]
    numeric = [bool(column) and all(map(_is_number, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(cells, widths, numeric, strict=True)
        )
        return GAP.join(aligned).rstrip()

    rule = GAP.join("-" * width for width in widths)
    return "\n".join([line(header), rule, *map(line, zip(*texts, strict=True))])


def cell(value: Any) -> str:
    """One value as text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
