"""Named columns, wherever they were read from."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


class Table:
    """Named columns of Python values.

    Attributes:
      origin: what messages call the table.
      names: the columns there are.
      parts: (origin, rows) of the files that the rows come from, one after the other; () if one.
    """

    def __init__(
        self,
        origin: str,
        columns: dict,
        label_names: dict[str, tuple[str, ...]],
        parts: tuple[tuple[str, int], ...] = (),
    ):
        self.origin = origin
        self.names = tuple(columns)
        self.parts = parts
        self._columns = columns
        self._label_names = label_names

    def column(self, name: str) -> list:
        """The values of a column; None where one is missing.

        Raises:
          ValueError: no such column, or text in it that is not UTF-8.
        """
        if name not in self._columns:
            raise ValueError(self.lacking(name))
        values = self._columns[name]
        if isinstance(values, list):
            return values
        try:
            return values.to_pylist()
        except UnicodeDecodeError:
            row = _first_undecodable(values)
            raise ValueError(
                f"column {name!r} of {self.origin} is no UTF-8 in row {row}; "
                "allowed are files that are saved as UTF-8"
            ) from None

    def lacking(self, name: str) -> str:
        """What to say of a column that is not there."""
        return f"column {name!r} is not in {self.origin}; allowed are {_listed(self.names)}"

    def place(self, row: int) -> tuple[str, int]:
        """The file of a row, and its number there, from 0."""
        for origin, count in self.parts:
            if row < count:
                return origin, row
            row -= count
        return self.origin, row

    def label_names(self, name: str) -> tuple[str, ...]:
        """Class names that Hugging Face metadata give for a column; () if there are none."""
        return self._label_names.get(name, ())


def _listed(names: Sequence[str]) -> str:
    """Column names; as Python writes them where blanks are part of one."""
    shown = ", ".join(n if n == n.strip() else repr(n) for n in names)
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        return f"{shown!r} alone: cells have to be separated by commas"
    return shown


def _first_undecodable(values: pa.ChunkedArray) -> int:
    for row, value in enumerate(values.cast(pa.binary()).to_pylist()):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            return row
    raise AssertionError("every row is UTF-8")
