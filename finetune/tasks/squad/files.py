"""SQuAD's questions from its published JSON files, or from tables as the Hub has them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from finetune.tasks.files import columns, sources
from finetune.tasks.files.sources import Table

REPOSITORIES = {"squad": "rajpurkar/squad", "squad_v2": "rajpurkar/squad_v2"}
VERSIONS = {"squad": "v1.1", "squad_v2": "v2.0"}
# Split -> what the published files call it.
SPLITS = {"train": "train", "validation": "dev"}


class Question(NamedTuple):
    """A question, the paragraph it is about, and its right answers, () for none."""

    id: str
    context: str
    question: str
    answers: tuple[str, ...]


def read(name: str, data_dir: str | pathlib.Path | None = None) -> dict[str, list[Question]]:
    """Split -> questions.

    Args:
      name: "squad" (1.1) or "squad_v2" (2.0).
      data_dir: folder, or its folder of that name, with train-v1.1.json and dev-v1.1.json (of 2.0
        -v2.0.json), or with train and validation files of columns id, context, question, answers;
        None for the Hub.

    Raises:
      FileNotFoundError, ConnectionError: the data are not there.
      ValueError: a file of another form; of 1.1 a question without an answer.
    """
    if data_dir is None:
        tables = sources.from_hub(REPOSITORIES[name], None, tuple(SPLITS))
        splits = {split: _of_table(table) for split, table in tables.items()}
    else:
        splits = _of_folder(name, pathlib.Path(data_dir))
    for split, questions in splits.items():
        if not questions:
            raise ValueError(f"split {split!r} of {name} has 0 questions; allowed are 1 or more")
        bare = next((q for q in questions if not q.answers and name == "squad"), None)
        if bare is not None:
            raise ValueError(
                f"question {bare.id!r} of split {split!r} has no answer, which SQuAD 2.0 allows: "
                "use --task=squad_v2"
            )
    return splits


def _of_folder(name: str, folder: pathlib.Path) -> dict[str, list[Question]]:
    folder = folder / name if (folder / name).is_dir() else folder
    files = {split: folder / f"{file}-{VERSIONS[name]}.json" for split, file in SPLITS.items()}
    there = {split: _of_json(path) for split, path in files.items() if path.is_file()}
    if there:
        return there
    try:
        tables = sources.read_splits(folder, tuple(SPLITS))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}, or {' and '.join(path.name for path in files.values())}"
        ) from None
    return {split: _of_table(table) for split, table in tables.items()}


def _of_json(path: pathlib.Path) -> list[Question]:
    try:
        return list(_published(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"file {str(path)!r} is not of SQuAD's published form ({type(error).__name__}: "
            f"{str(error)[:80]}); allowed is an object with data, paragraphs, context and qas"
        ) from None


def _published(record: Any) -> Iterator[Question]:
    for article in record["data"]:
        for paragraph in article["paragraphs"]:
            for one in paragraph["qas"]:
                # Of a question that cannot be answered, 2.0 keeps plausible ones elsewhere.
                none = one.get("is_impossible", False)
                answers = () if none else tuple(answer["text"] for answer in one["answers"])
                yield Question(str(one["id"]), paragraph["context"], one["question"], answers)


def _of_table(table: Table) -> list[Question]:
    parts = [columns.texts(table, name) for name in ("id", "context", "question")]
    answers = table.column("answers")
    for row, value in enumerate(answers):
        if not (isinstance(value, dict) and isinstance(value.get("text"), list)):
            raise ValueError(
                f"column 'answers' of {table.origin} has no list of texts in row {row}; allowed "
                "are objects with text and answer_start"
            )
    return [
        Question(*part, tuple(value["text"])) for *part, value in zip(*parts, answers, strict=True)
    ]
