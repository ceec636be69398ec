"""Predictions as files: CSV or JSONL with one row per example, and GLUE's submission format."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from finetune.tasks.glue import GLUE, TOP_SCORE
from finetune.tasks.language import LanguageTask
from finetune.tasks.squad.files import VERSIONS
from finetune.tasks.squad.spans import SpanTask
from finetune.tasks.task import Task
from rankwise import checks
from rankwise.files import replacing

SUFFIXES = (".csv", ".jsonl")
# Names the server expects. MNLI has one file for each of its two test splits.
FILES = {
    "cola": "CoLA.tsv",
    "sst2": "SST-2.tsv",
    "mrpc": "MRPC.tsv",
    "qqp": "QQP.tsv",
    "stsb": "STS-B.tsv",
    "qnli": "QNLI.tsv",
    "rte": "RTE.tsv",
    "matched": "MNLI-m.tsv",
    "mismatched": "MNLI-mm.tsv",
}
# Tasks whose files hold class names; the others hold class numbers.
BY_NAME = ("mnli", "qnli", "rte")


def write(
    path: str | pathlib.Path,
    task: Task | LanguageTask | SpanTask,
    split: str,
    predictions: Any,
    probabilities: np.ndarray | None = None,
) -> pathlib.Path:
    """Writes index, prediction (class name or number), where there are labels label, prob_<class>.

    The index of a row is its number where it was read, `Split.index`.

    Args:
      path: ends in .csv or .jsonl; replaced if it exists.
      task: of one that answers in text .jsonl only: what it records of every row; of SQuAD also
        .json, question's id -> answer, which its published scoring script reads.
      predictions: (n,) for the rows of the split in order, as `Task.predict` gives them.
      probabilities: (n, k), as `Task.probabilities` gives them; None leaves these columns out.

    Raises:
      ValueError: another suffix, another number of predictions, a class that the task has not, a
        number that is not finite.

    Example:
      write("predictions.csv", task, "validation", task.predict(logits))
    """
    path = require_suffix(path, task)
    index = task.split(split).index.tolist()
    if not isinstance(task, Task):
        records = task.records(predictions, task.split(split).labels)
        if path.suffix == ".json":
            texts = {row["id"]: row["prediction"] for row in records}
            return _replace(path, lambda file: json.dump(texts, file, ensure_ascii=False))
        # Of several samples a row has several entries.
        index = np.repeat(index, len(records) // len(index)).tolist()
        pairs = zip(index, records, strict=True)
        return write_lines(path, ({"index": i, **row} for i, row in pairs))
    columns = {"prediction": _readable(task, _checked(task, split, predictions))}
    labels = task.split(split).labels
    if labels is not None:
        columns["label"] = _readable(task, labels)
    if probabilities is not None:
        shares = np.asarray(probabilities, np.float64).T.tolist()
        columns |= {f"prob_{n}": c for n, c in zip(task.label_names, shares, strict=True)}
    names = ("index", *columns)
    rows = list(zip(index, *columns.values(), strict=True))
    if path.suffix == ".csv":
        return _replace(path, lambda file: csv.writer(file).writerows([names, *rows]))
    return write_lines(path, (dict(zip(names, row, strict=True)) for row in rows))


def require_suffix(path: str | pathlib.Path, task: Task | LanguageTask | SpanTask) -> pathlib.Path:
    """Refuses a path that `write` would, before the predictions are made.

    Raises:
      ValueError: a suffix that is not for the task: .csv and .jsonl, of answers in text .jsonl,
        and of SQuAD .json too.
    """
    path = pathlib.Path(path)
    # Texts have line breaks and commas, and some rows several entries.
    allowed = SUFFIXES if isinstance(task, Task) else SUFFIXES[1:]
    if task.name in VERSIONS:
        allowed = (*allowed, ".json")
    if path.suffix not in allowed:
        raise ValueError(f"path is {str(path)!r}; allowed suffixes are {', '.join(allowed)}")
    return path


def write_submission(
    folder: str | pathlib.Path, task: Task, split: str, predictions: np.ndarray
) -> pathlib.Path:
    """Writes the file that the GLUE server expects for a task, and returns its path.

    Tab-separated index and prediction: class numbers for CoLA, SST-2, MRPC and QQP, class names
    for MNLI, QNLI and RTE, a number in [0, 5] for STS-B. The server wants all tasks in one zip.

    Raises:
      ValueError: not a GLUE task, a split other than test (MNLI: test_matched, test_mismatched),
        and as for `write`.
    """
    require_submission(task, split)
    values = _checked(task, split, predictions)
    if task.regression:
        column = [f"{value:.3f}" for value in np.clip(values, 0.0, TOP_SCORE)]
    elif task.name in BY_NAME:
        column = [task.label_names[value] for value in values]
    else:
        # The server's numbers, whatever the numbering of the network.
        server = GLUE[task.name].label_names
        column = [str(server.index(task.label_names[value])) for value in values]
    key = split.removeprefix("test_") if task.name == "mnli" else task.name
    rows = "".join(f"{index}\t{value}\n" for index, value in enumerate(column))
    path = pathlib.Path(folder) / FILES[key]
    return _replace(path, lambda file: file.write("index\tprediction\n" + rows))


def require_submission(task: Task | LanguageTask, split: str) -> None:
    """Refuses what `write_submission` would, before the predictions are made.

    Raises:
      ValueError: not a GLUE task of classes, or not a split that the server scores.
    """
    checks.choice("task", task.name, tuple(GLUE))
    if isinstance(task, LanguageTask):
        raise ValueError("form is 'text_to_text'; allowed for a submission is 'classes'")
    allowed = tuple(name for name in GLUE[task.name].rows if name.startswith("test"))
    checks.choice("split", split, allowed)


def _checked(task: Task, split: str, predictions: np.ndarray) -> np.ndarray:
    predictions = np.asarray(predictions)
    shape = (len(task.split(split)),)
    if predictions.shape != shape:
        raise ValueError(f"predictions has shape {predictions.shape}; allowed is {shape}")
    # Scored against themselves: the same checks as for a score, one place for them.
    task.score(predictions, predictions)
    return predictions


def _readable(task: Task, values: np.ndarray) -> list:
    if task.regression:
        return [float(value) for value in values]
    return [task.label_names[value] for value in values]


def write_lines(path: str | pathlib.Path, rows: Iterable[dict]) -> pathlib.Path:
    """Writes a JSON object per line, and returns the path; a file that exists is replaced."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    return _replace(pathlib.Path(path), lambda file: file.writelines(line + "\n" for line in lines))


def _replace(path: pathlib.Path, fill) -> pathlib.Path:
    """A file is there with all rows or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        fill(file)
    return path
