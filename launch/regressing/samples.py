"""Samples in the rows of a table, as arrays; what is wrong with a file is one line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from finetune.tasks.files import columns, sources
from finetune.tasks.files.table import Table
from rankwise.files import write_text


def read(path: str, targets: Sequence[str], inputs: Sequence[str]) -> tuple[Table, list[str]]:
    """The table and the names of its inputs, all that are no targets when none are given.

    Raises:
      ValueError: a file without a line of names or without rows, a column that is not there, no
        input; samples in columns are told as such.
    """
    table = sources.read(path)
    if table.names and all(map(_is_number, table.names)):
        raise ValueError(
            f"the first line of {path} has numbers; allowed is one with the names of the columns"
        )
    missing = [name for name in (*targets, *inputs) if name not in table.names]
    if missing and table.names and missing[0] in table.column(table.names[0]):
        raise ValueError(
            f"{missing[0]!r} is a row of {path} and no column; allowed are samples in rows: "
            "transpose the file"
        )
    if missing:
        table.column(missing[0])  # raises, with the columns that there are
    chosen = list(inputs) or [name for name in table.names if name not in targets]
    if not chosen:
        raise ValueError(f"{path} has no column that is not one of --targets; allowed is one more")
    if not table.column(targets[0] if targets else chosen[0]):
        raise ValueError(f"{path} has no rows; allowed is at least one")
    return table, chosen


def numbers(table: Table, names: Sequence[str]) -> np.ndarray:
    """Columns as float64 (n, columns).

    Raises:
      ValueError: a cell that is no finite number, with its row and column.
    """
    try:
        return np.column_stack([columns.numbers(table, name, dtype=np.float64) for name in names])
    except ValueError as error:
        raise ValueError(f"{error}; --inputs names the columns to be used") from None


def require_spread(path: str, names: Sequence[str], values: np.ndarray) -> None:
    """Raises ValueError for a column whose cells are all the same."""
    for name, column in zip(names, values.T, strict=True):
        if np.all(column == column[0]):
            raise ValueError(
                f"column {name!r} of {path} is {column[0]:g} in every row; allowed with "
                "--standardise are columns that vary: leave it out of --inputs or --targets"
            )


def write(path, header: Sequence[str], rows) -> None:
    """A CSV file, at once or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
