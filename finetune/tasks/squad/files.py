"""SQuAD's questions from its published JSON files, or from tables as the Hub has them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from finetune.tasks.files import columns, sources
from finetune.tasks.files.table import Table

REPOSITORIES = {"squad": "rajpurkar/squad", "squad_v2": "rajpurkar/squad_v2"}
VERSIONS = {"squad": "v1.1", "squad_v2": "v2.0"}
# Split -> what the published files call it.
SPLITS = {"train": "train", "validation": "dev"}


class Question(NamedTuple):
    """A question, the paragraph it is about, and its right answers.

    Attributes:
      answers: () where there is none, None where they are not published.
      starts: character of the paragraph that each of them begins at; () where the file has none.
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...] | None
    starts: tuple[int, ...] = ()


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
        unknown = next((q for q in questions if q.answers is None), None)
        if unknown is not None:
            raise ValueError(
                f"question {unknown.id!r} of split {split!r} has no entry answers; allowed are "
                "lists of them, empty ones too: questions without any are for launch.predict"
            )
        bare = next((q for q in questions if not q.answers and name == "squad"), None)
        if bare is not None:
            raise ValueError(
                f"question {bare.id!r} of split {split!r} has no answer, which SQuAD 2.0 allows: "
                "use --task=squad_v2"
            )
    return splits


def read_file(path: str | pathlib.Path, answers: bool = True) -> list[Question]:
    """The questions of one file: .json in the published form, or a table.

    Args:
      path: a table has the columns context and question, and may have id, else rows are numbered.
      answers: read them, where the file has any; else all are None.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file of another form, or without questions; answers of some questions only.
    """
    path = pathlib.Path(path)
    if path.suffix == ".json":
        if not path.is_file():
            raise FileNotFoundError(f"file {str(path)!r} does not exist")
        questions = _of_json(path)
        if not answers:
            questions = [q._replace(answers=None, starts=()) for q in questions]
    else:
        table = sources.read(path)
        questions = _of_table(table, answers and "answers" in table.names)
    if not questions:
        raise ValueError(f"file {str(path)!r} has 0 questions; allowed are 1 or more")
    if len({question.answers is None for question in questions}) > 1:
        raise ValueError(
            f"file {str(path)!r} has the entry answers for some questions only; allowed is all or "
            "none"
        )
    return questions


def as_table(path: str | pathlib.Path) -> Table:
    """The questions of a .json file in the published form: columns id, context and question.

    Raises:
      FileNotFoundError, ValueError: as `read_file`.
    """
    questions = read_file(path, answers=False)
    names = ("id", "context", "question")
    return Table(str(path), {n: [getattr(q, n) for q in questions] for n in names}, {})


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
                question = Question(str(one["id"]), paragraph["context"], one["question"], None)
                # Of a question that cannot be answered, 2.0 keeps plausible ones elsewhere.
                if one.get("is_impossible", False):
                    yield question._replace(answers=())
                elif "answers" not in one:
                    yield question
                else:
                    texts = tuple(answer["text"] for answer in one["answers"])
                    starts = (answer.get("answer_start") for answer in one["answers"])
                    yield question._replace(answers=texts, starts=_starts(texts, starts))


def _starts(texts: tuple[str, ...], starts: Iterable[Any]) -> tuple[int, ...]:
    """Where answers begin; () unless each of them has a place."""
    there = tuple(start for start in starts if type(start) is int)
    return there if len(there) == len(texts) else ()


def _of_table(table: Table, answered: bool = True) -> list[Question]:
    parts = [columns.texts(table, name) for name in ("context", "question")]
    rows = range(len(parts[0]))
    ids = columns.texts(table, "id") if "id" in table.names else list(map(str, rows))
    if not answered:
        return [Question(*row, None) for row in zip(ids, *parts, strict=True)]
    answers = table.column("answers")
    for row, value in enumerate(answers):
        if not (isinstance(value, dict) and isinstance(value.get("text"), list)):
            raise ValueError(
                f"column 'answers' of {table.origin} has no list of texts in row {row}; allowed "
                "are objects with text and answer_start"
            )
    questions = []
    for *part, value in zip(ids, *parts, answers, strict=True):
        texts = tuple(value["text"])
        starts = _starts(texts, value.get("answer_start") or ())
        questions.append(Question(*part, texts, starts))
    return questions
