"""The texts of `launch.compress`: rows for calibration, and rows to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from finetune.tasks import tables
from finetune.tasks.files import columns
from finetune.tasks.files.table import Table

TEXT = "text"


class Texts(NamedTuple):
    """Texts of several files.

    Attributes:
      train: rows, a tuple of texts each, for calibration; a list per source.
      heldout: rows to judge by.
      alike: a number for each row of `heldout`; None without a column of them.
    """

    train: list[list[tuple[str, ...]]]
    heldout: list[tuple[str, ...]]
    alike: np.ndarray | None


def read(
    paths: Sequence[str], names: Sequence[str], label: str | None, share: float, seed: int
) -> Texts:
    """Rows in a random order that depends on `seed` alone.

    A folder with a validation or a test split is judged by that; of other data a share of the rows
    of the training split is held out, of a single text the last part of it.

    Raises:
      FileNotFoundError, ValueError: no such file or column, no row, no training split.
    """
    train, heldout, alike = [], [], []
    for path in paths:
        splits = tables.read(path)
        if "train" not in splits:
            raise ValueError(f"--data={path} has no train split; allowed is one that has")
        rows = _rows(splits["train"], names)
        order = np.random.default_rng(seed).permutation(len(rows))
        apart = next((splits[name] for name in ("validation", "test") if name in splits), None)
        if apart is not None:
            count = len(_rows(apart, names))
            judged = apart, np.random.default_rng(seed).permutation(count).tolist()
        elif len(rows) == 1:
            start, end = _parted(rows[0], share)
            train.append([start])
            heldout.append(end)
            continue
        else:
            count = min(max(round(share * len(rows)), 1), len(rows) - 1)
            judged, order = (splits["train"], order[:count].tolist()), order[count:]
        train.append([rows[i] for i in order])
        table, chosen = judged
        of_table = _rows(table, names)
        heldout += [of_table[i] for i in chosen]
        if label is not None:
            alike.append(columns.numbers(table, label)[chosen])
    return Texts(train, heldout, np.concatenate(alike) if alike else None)


def whole(paths: Sequence[str], names: Sequence[str]) -> list[tuple[str, ...]]:
    """All rows of all splits but the training split, where there are others."""
    rows = []
    for path in paths:
        splits = tables.read(path)
        apart = [table for name, table in splits.items() if name != "train"]
        for table in apart or splits.values():
            of_another_kind = TEXT in table.names and not set(names) <= set(table.names)
            rows += _rows(table, (TEXT,) if of_another_kind else names)
    return rows


def _rows(table: Table, names: Sequence[str]) -> list[tuple[str, ...]]:
    if table.origin.endswith(".txt"):
        names = (TEXT,)  # mixed with tables it has no columns of theirs
    elif tuple(names) == (TEXT,) and len(table.names) == 1:
        names = table.names
    rows = list(zip(*(columns.texts(table, name) for name in names), strict=True))
    if not any(text.strip() for row in rows for text in row):
        raise ValueError(f"{table.origin} has no text to calibrate on; allowed are rows with some")
    return rows


def _parted(row: tuple[str, ...], share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    text = "\n".join(row)
    place = len(text) - max(round(share * len(text)), 1)
    return (text[:place],), (text[place:],)
