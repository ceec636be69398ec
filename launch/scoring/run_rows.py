"""What an evaluation says of its rows, from those that the run knew."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from finetune import tasks
from finetune.weights.files import read_json

AnyTask = tasks.Task | tasks.LanguageTask | tasks.SpanTask


def changed(task: AnyTask, split: str, known: Mapping[str, str]) -> str:
    """A note where the run had other rows of the split; "" if not.

    Args:
      known: split -> fingerprint of the rows that the run had.
    """
    if known.get(split) in (None, task.split(split).fingerprint):
        return ""
    return f"{split} has other rows, labels or tokens than the run had"


def included(
    task: AnyTask, split: str, known: Mapping[str, str], run: pathlib.Path, data_dir: str
) -> str:
    """A note where rows that --data_dir names are those that the run was trained on; "" if not.

    They are if they are equal, or if the file is one that the run took its training rows from.

    Args:
      known: as in `changed`.
      run: folder of the run.
      data_dir: what is evaluated in the place of the run's own data.
    """
    equal = task.split(split).fingerprint == known.get("train")
    return "rows that the run was trained on are included" if equal or _own(run, data_dir) else ""


def _own(run: pathlib.Path, data_dir: str) -> bool:
    given, source = pathlib.Path(data_dir), read_json(run / "config.json")["data_dir"]
    if source is None or not given.is_file() or not pathlib.Path(source).exists():
        return False
    source = pathlib.Path(source)
    return any(given.samefile(f) for f in ([source] if source.is_file() else source.glob("train*")))
