"""Runs of other comparisons in the same table: of another machine, or of an earlier day."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from finetune.weights.files import read_json

Record = dict[str, Any]

NEEDED = ("task", "recipe", "seed", "metric", "majority", "score")
"""What a record has to say to stand in a table."""


def read(where: str | os.PathLike) -> list[Record]:
    """The records of a compare.json, or of the one in a folder.

    Raises:
      ValueError: no such file, or not what `launch.compare` writes.
    """
    path = pathlib.Path(where)
    path = path / "compare.json" if path.is_dir() else path
    records = read_json(path, list)
    if not records:
        raise ValueError(f"{path} has no runs; allowed is at least one")
    for record in records:
        lacks = [name for name in NEEDED if not isinstance(record, dict) or name not in record]
        if lacks:
            raise ValueError(
                f"{path} has a record without {lacks[0]!r}; allowed is what launch.compare writes"
            )
    return records


def joined(parts: Iterable[tuple[str, Sequence[Record]]]) -> list[Record]:
    """The records of all parts, those of a task together, each run once.

    Args:
      parts: where the records are from, and they themselves.

    Raises:
      ValueError: a run that two parts have and not alike, or a task with another metric, other rows
        to be scored on or another base model.

    Example:
      >>> def run(method, score):
      ...     names = {"task": "rte", "recipe": method, "seed": 0, "metric": "accuracy"}
      ...     return {**names, "majority": 0.5, "score": score}
      >>> here, there = [run("lora", 0.75)], [run("lora", 0.75), run("dora", 0.5)]
      >>> [record["recipe"] for record in joined([("a", here), ("b", there)])]
      ['lora', 'dora']
    """
    runs: dict[tuple, tuple[str, Record]] = {}
    known: dict[tuple[str, str], tuple[str, Any]] = {}
    for where, records in parts:
        for record in records:
            task, recipe, seed = key = tuple(record[name] for name in NEEDED[:3])
            _require_same(where, task, _protocol(record), known)
            before, same = runs.setdefault(key, (where, record))
            if same["score"] != record["score"]:
                raise ValueError(
                    f"{before} and {where} both have {recipe} on {task} with seed {seed}, and not "
                    "the same scores; allowed is one run of each: under the name of another "
                    "file of flags both can stand"
                )
    order = list(dict.fromkeys(task for task, _, _ in runs))
    return sorted((run for _, run in runs.values()), key=lambda run: order.index(run["task"]))


def _protocol(record: Record) -> dict[str, Any]:
    """What the runs of a task share; None for what an older record does not say."""
    rows = (record.get("data") or {}).get(record.get("split"))
    return {
        "metrics": record["metric"],
        "rows to score on": rows,
        "base models": record.get("base"),
    }


def _require_same(where: str, task: str, own: dict[str, Any], known: dict) -> None:
    for what, value in own.items():
        if value is None:
            continue
        before, first = known.setdefault((task, what), (where, value))
        if value != first:
            raise ValueError(
                f"{before} and {where} have other {what} for {task}; allowed is one of them under "
                "a task's name"
            )
