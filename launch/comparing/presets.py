"""A published comparison: its tasks and methods, its numbers, and how its protocol differs.

A file of JSON with the entries title, tasks and methods (as `launch.compare` takes them; files
relative to this one), budget (null or components of all modules, for the methods that are given by
name; those in files keep the ranks that are published for them), published (method -> task ->
number, in per cent), and differences (lines).
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.methods import NAMES
from launch.comparing import table as comparison
from launch.shell.recipe_files import resolved
from launch.shell.tables import table

HEADER = ("task", "method", "published", "here", "majority")
AVERAGE, FIRST = "average", "first in"


@dataclasses.dataclass(frozen=True)
class Preset:
    """See the head of this file; `published` has the stems of files in place of their names."""

    title: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    published: Mapping[str, Mapping[str, float]]
    differences: tuple[str, ...]
    budget: int | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The methods that are given by files."""
        return tuple(method for method in self.methods if method not in NAMES)

    def rows(self, measured: Sequence[tuple]) -> list[tuple]:
        """Published numbers beside ours, in per cent; None where one of them is not there.

        Several tasks end with their unweighted average, of the methods that have all of them, and
        with the number of tasks in which no method has a better number, of those that are there.
        """
        here = {(row[0], row[1]): (row[3], row[8]) for row in measured}
        keys = [(t, m) for m, scores in self.published.items() for t in scores]
        rows = []
        for task, method in dict.fromkeys([*keys, *(here if self.published else ())]):
            score, majority = here.get((task, method), (None, None))
            there = self.published.get(method, {}).get(task)
            rows.append((task, method, there, _percent(score), _percent(majority)))
        return sorted(rows, key=lambda row: row[0]) + self._averages(rows) + self._firsts(rows)

    def _averages(self, rows: Sequence[tuple]) -> list[tuple]:
        averages = []
        for method in dict.fromkeys(row[1] for row in rows):
            own = [row for row in rows if row[1] == method]
            means = [_mean([row[column] for row in own], len(self.tasks)) for column in (2, 3, 4)]
            if len(self.tasks) > 1 and means[:2] != [None, None]:
                averages.append((AVERAGE, method, *means))
        return averages

    def _firsts(self, rows: Sequence[tuple]) -> list[tuple]:
        if len(self.tasks) < 2:
            return []
        counts: dict[str, list[int | None]] = {row[1]: [None, None] for row in rows}
        for column in (2, 3):
            best = {}
            for row in rows:
                if row[column] is not None:
                    best[row[0]] = max(row[column], best.get(row[0], row[column]))
            for task, method, *numbers in rows:
                if (number := numbers[column - 2]) is not None:
                    own = counts[method]
                    own[column - 2] = (own[column - 2] or 0) + int(number == best[task])
        return [(FIRST, method, *own, None) for method, own in counts.items()]

    def markdown(self, measured: Sequence[tuple]) -> str:
        """A table and the differences; "" for the empty preset."""
        if not self.title:
            return ""
        lines = "".join(f"* {line}\n" for line in self.differences)
        beside = comparison.markdown(self.rows(measured), HEADER)
        return f"\n## {self.title}\n\n{beside}\nHow the protocols differ:\n\n{lines}"

    def text(self, measured: Sequence[tuple]) -> str:
        """The same for a terminal."""
        if not self.title:
            return ""
        lines = "\n".join(f"- {line}" for line in self.differences)
        return f"\n{self.title}\n{table(HEADER, self.rows(measured))}\n{lines}"


EMPTY = Preset("", (), (), {}, ())


def read(path: str | pathlib.Path) -> Preset:
    """The preset in a file.

    Raises:
      ValueError: no such file, no JSON, or an entry that is missing or not known.
    """
    path = resolved(str(path))
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no preset ({type(error).__name__})") from None
    names = {field.name for field in dataclasses.fields(Preset)}
    if not isinstance(raw, dict) or set(raw) != names:
        raise ValueError(f"{path} is no preset; its entries must be {', '.join(sorted(names))}")
    return Preset(
        raw["title"],
        tuple(_placed(path, task) for task in raw["tasks"]),
        tuple(method if method in NAMES else _placed(path, method) for method in raw["methods"]),
        raw["published"],
        tuple(raw["differences"]),
        raw["budget"],
    )


def _placed(path: pathlib.Path, name: str) -> str:
    return str((path.parent / name).resolve())


def _mean(values: Sequence[float | None], count: int) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / count if len(there) == count else None


def _percent(value: Any) -> float | None:
    return None if value is None else 100 * value
