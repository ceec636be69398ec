"""Columns of Python values checked and turned into arrays; a message names the first bad row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np

from finetune.tasks.files.table import Table
from rankwise import checks

# What GLUE's files hold in place of a label that is not published.
HIDDEN = -1
CHARACTERS = "whole characters (a cut emoji leaves half of a surrogate pair)"


def texts(table: Table, name: str) -> list[str]:
    """A column of strings.

    Raises:
      ValueError: no such column, or a row that is missing, not a string, or has half of a pair of
        surrogates, which is no character.
    """
    values = table.column(name)
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(_message(table, name, row, value, "strings"))
        if _lone_surrogate(value):
            raise ValueError(_message(table, name, row, value, CHARACTERS))
    return values


def classes(table: Table, name: str, label_names: Sequence[str]) -> np.ndarray | None:
    """A column of class numbers 0..k-1 as int32 (n,); None if all are -1, that is, hidden.

    Raises:
      ValueError: no such column, names in the file's metadata in another order, or a row that is
        not such an integer.
    """
    recorded = table.label_names(name)
    if recorded and recorded != tuple(label_names):
        raise ValueError(
            f"column {name!r} of {table.origin} has the classes {', '.join(recorded)}; "
            f"allowed are {', '.join(label_names)}, in this order"
        )
    values = table.column(name)
    if values and all(value == HIDDEN for value in values):
        return None
    allowed = ", ".join(f"{number} ({text})" for number, text in enumerate(label_names))
    for row, value in enumerate(values):
        if not _is_integer(value) or not 0 <= value < len(label_names):
            raise ValueError(_message(table, name, row, value, allowed))
    return np.array(values, np.int32)


def numbers(
    table: Table,
    name: str,
    low: float = -math.inf,
    high: float = math.inf,
    dtype: type = np.float32,
):
    """A column of numbers (or strings that are numbers) of a dtype (n,); None if all are hidden.

    Raises:
      ValueError: no such column, or a row that is missing, not finite or outside [low, high].
    """
    values = table.column(name)
    if values and all(value == HIDDEN for value in values) and low > HIDDEN:
        return None
    bounded = math.isfinite(low) or math.isfinite(high)
    allowed = f"numbers from {low:g} to {high:g}" if bounded else "finite numbers"
    out, largest = np.empty(len(values), dtype), float(np.finfo(dtype).max)
    for row, value in enumerate(values):
        number = _number(value)
        # The dtype is what they become: 1e300 is finite only before it is float32.
        if not abs(number) <= largest or not low <= number <= high:
            raise ValueError(_message(table, name, row, value, allowed))
        out[row] = number
    return out


def hidden(table: Table, name: str, label_names: Sequence[str] = ()) -> bool:
    """Whether all rows hide their label: no such column, blank cells, or -1 that is no class.

    Raises:
      ValueError: some rows hide it and others do not.
    """
    if name not in table.names:
        return True
    blank = (None, "", *(() if str(HIDDEN) in label_names else (HIDDEN, str(HIDDEN))))
    values = table.column(name)
    rows = [row for row, value in enumerate(values) if value in blank]
    if len(rows) == len(values):
        return True
    # A regression's numbers may be -1 here and there.
    if rows and label_names:
        allowed = f"{', '.join(label_names)}, or hidden labels in all rows"
        raise ValueError(_message(table, name, rows[0], values[rows[0]], allowed))
    return False


def names_of_classes(table: Table, name: str) -> tuple[str, ...]:
    """The distinct labels of a column in order: numbers by value, words by the alphabet.

    Raises:
      ValueError: no such column, a missing label, labels of several types, a type other than
        strings, integers and booleans, numbers some of which are no integers, or fewer than two
        classes.
    """
    values = table.column(name)
    kind = type(values[0]) if values else str
    for row, value in enumerate(values):
        if not isinstance(value, (str, bool, int)) or value == "":
            allowed = "strings, integers and booleans (numbers need regression)"
            raise ValueError(_message(table, name, row, value, allowed))
        if type(value) is not kind:
            allowed = f"one type in all rows, {kind.__name__} as in row 0"
            raise ValueError(_message(table, name, row, value, allowed))
        if isinstance(value, str) and _lone_surrogate(value):
            raise ValueError(_message(table, name, row, value, CHARACTERS))
    distinct = set(values)
    if len(distinct) < 2:
        raise ValueError(
            f"column {name!r} of {table.origin} has {len(distinct)} classes; allowed are 2 or more"
        )
    if kind is str and (fraction := _a_fraction(distinct)) is not None:
        row = values.index(fraction)
        allowed = "names of classes (numbers need regression)"
        raise ValueError(_message(table, name, row, fraction, allowed))
    return tuple(map(str, sorted(distinct, key=_by_value(distinct))))


def classes_by_name(
    table: Table,
    name: str,
    label_names: Sequence[str],
    number: Callable[[str], int | None] | None = None,
) -> np.ndarray:
    """The position of each row's label in `label_names`, int32 (n,).

    Args:
      number: label -> its position, None where it has none; else labels are the names as they are.

    Raises:
      ValueError: no such column, or a label that is not among the names.
    """
    if number is None:
        number = {text: place for place, text in enumerate(label_names)}.get
    values = table.column(name)
    parsed = [number(str(value)) for value in values]
    for row, value in enumerate(values):
        if parsed[row] is None:
            raise ValueError(_message(table, name, row, value, ", ".join(label_names)))
    return np.array(parsed, np.int32)


def _message(table: Table, name: str, row: int, value, allowed: str) -> str:
    origin, row = table.place(row)
    value = checks.shown(value)
    return f"column {name!r} of {origin} is {value} in row {row}; allowed are {allowed}"


def _lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_integer(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(value) -> float:
    if isinstance(value, bool) or not isinstance(value, (Real, str)):
        return math.nan
    if isinstance(value, str) and "_" in value:  # which Python reads as nothing
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan


def _by_value(values: set):
    """Sorts "10" after "9" where all labels are integers; "01" and "1" have an order too."""
    try:
        return {value: (int(value), str(value)) for value in values}.get
    except ValueError:
        return None


def _a_fraction(labels: set[str]) -> str | None:
    """One of the labels, all numbers, that is no integer."""
    found = {label: _number(label) for label in labels}
    if any(math.isnan(number) for number in found.values()):
        return None
    return min((label for label, number in found.items() if number % 1 != 0), default=None)
