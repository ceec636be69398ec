"""A user's rows: read for a run that is trained, and written with what it predicts."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from finetune.tasks import SpanTask, Task
from finetune.tasks.files import sources
from finetune.tasks.files.table import Table
from finetune.tasks.glue import GLUE
from finetune.tasks.predictions import write_lines
from finetune.tasks.registry import TABLE, for_language
from finetune.tasks.squad import files as squad
from launch.training.problem_config import WHOLE, ProblemConfig
from rankwise.files import replacing

PREDICTION, PROBABILITY = "prediction", "prob_"


def problem_of(config: ProblemConfig, data: str, classes: tuple[str, ...]) -> ProblemConfig:
    """The problem of a run with the rows of `data`, taken whole, in the place of its own.

    Raises:
      ValueError: a run that has no columns of text, that writes text, or that kept no classes.
    """
    run = f"the run was trained on --task={config.task}"
    if config.of_spans:
        return dataclasses.replace(config, data_dir=data, label=None, **WHOLE)
    if for_language(config.task, config.form):
        raise ValueError(
            f"{run} and writes text; allowed are runs of classes or numbers: use "
            "launch.generate for prompts"
        )
    if config.task not in (TABLE, *GLUE):
        raise ValueError(f"{run}; allowed are runs on texts, of table and of GLUE's tasks")
    changed: dict[str, Any] = {"data_dir": data, "label": None, **WHOLE}
    if config.task != TABLE:
        spec = GLUE[config.task]
        changed |= {"task": TABLE, "texts": spec.texts, "regression": not spec.label_names}
    problem = dataclasses.replace(config, **changed)
    if not (classes or problem.regression):
        raise ValueError(f"{run} by an earlier version, which kept no names of classes: train anew")
    return problem


def read(data: str, classes: tuple[str, ...], questions: bool = False) -> Table:
    """The file with all of its columns.

    Args:
      questions: it may be of SQuAD's published form, .json.

    Raises:
      ValueError: a column that is in the way of what is written.
    """
    published = questions and data.endswith(".json")
    table = squad.as_table(data) if published else sources.read(data)
    for name in added(classes):
        if name in table.names:
            raise ValueError(
                f"column {name!r} of {table.origin} is in the way of what is predicted; allowed "
                f"are names other than {', '.join(added(classes))}"
            )
    return table


def added(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are written beside those of the file."""
    return (PREDICTION, *(f"{PROBABILITY}{name}" for name in classes))


def predicted(task: Task | SpanTask, answers: np.ndarray) -> list[list[Any]]:
    """The values of `added` of every row: the class and the probability of each, the number, or
    the answer."""
    values = task.predict(answers)
    if isinstance(task, SpanTask):
        return [[answer] for answer in values.texts]
    if task.regression:
        return [[float(value)] for value in values]
    shares = task.probabilities(answers).tolist()
    pairs = zip(values, shares, strict=True)
    return [[task.label_names[value], *of_row] for value, of_row in pairs]


def write(path: str, table: Table, classes: tuple[str, ...], predictions: list[list[Any]]) -> None:
    """Writes the rows of the table in their order, each with what was found."""
    names = (*table.names, *added(classes))
    kept = zip(*map(table.column, table.names), strict=True)
    rows = [[*row, *new] for row, new in zip(kept, predictions, strict=True)]
    if path.endswith(".jsonl"):
        write_lines(path, (dict(zip(names, row, strict=True)) for row in rows))
        return
    with replacing(pathlib.Path(path)) as part, part.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([names, *([_cell(v) for v in row] for row in rows)])


def _cell(value: Any) -> Any:
    """Lists and objects, which JSONL and parquet may hold, as JSON; a missing value is blank."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
