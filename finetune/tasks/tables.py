"""The user's own texts: CSV, JSONL or parquet files, with columns chosen by name."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from finetune.tasks import class_names, subsets, text
from finetune.tasks.files import columns, sources
from finetune.tasks.files.table import Table
from finetune.tasks.task import Task
from finetune.tasks.tokens.tokenizer import Tokenizer
from rankwise import checks

SPLITS = ("train", "validation", "test")


def load(
    data: str | pathlib.Path | Mapping[str, str | pathlib.Path],
    tokenizer: Tokenizer,
    texts: Sequence[str],
    label: str | None = "label",
    regression: bool = False,
    heldout: float = 0.0,
    max_length: int = 128,
    lengths: Sequence[int] = text.LENGTHS,
    window: int = 1,
    label_names: Sequence[str] | None = None,
    name: str = "table",
) -> Task:
    """A task of one or two text columns and a label column.

    Labels are strings, integers or booleans (classes, named by their value in the training split)
    or, with regression, finite numbers. Only in the split "test" labels may be hidden: no label
    column, or blank cells or -1 in all rows. It can be predicted then and not scored.

    Args:
      data: split name -> file, or one file (train), or a folder with train, validation and test
        files; .csv has a header line, .jsonl an object per line.
      tokenizer: of the model.
      texts: one or two column names.
      label: column name; None reads no labels, where `label_names` are given.
      regression: the label is a number to be predicted with squared error.
      heldout: share of the training rows that becomes the split "heldout", always the same rows.
      max_length: tokens per row, special tokens included.
      lengths: what batches are padded to, see `text.buckets`.
      window: batches sorted by length together, see `batches.shuffled`.
      label_names: the classes by number, where a network has them already; the labels are these,
        see `class_names.numbers`, no split needs labels, and none needs to be the training split.
        () where there are none (regression). None takes the classes of the training split.
      name: of the task.

    Raises:
      FileNotFoundError: a file or a split that does not exist.
      ValueError: a column that does not exist, a text that is not a string, a label that is
        missing, of another type, not finite or unknown, an empty split.

    Example:
      load({"train": "a.csv", "validation": "b.csv"}, tokenizer, ["question", "answer"], "good")
    """
    texts = (texts,) if isinstance(texts, str) else tuple(texts)
    if len(texts) not in (1, 2):
        names = next(iter(read(data).values())).names
        raise ValueError(
            f"texts has {len(texts)} columns; allowed are 1 or 2 (--texts=NAME or --texts=A,B) "
            f"of {', '.join(names)}"
        )
    subsets.require_share(heldout)
    lengths = text.buckets(max_length, lengths)
    given = label_names is not None and (regression or bool(label_names))
    tables = read(data)
    if "train" not in tables and not given:
        raise FileNotFoundError(
            f"data has the splits {', '.join(tables)}; allowed is one that includes train"
        )
    if regression:
        label_names = ()
    elif not given:
        label_names = columns.names_of_classes(tables["train"], label)
    number = class_names.numbers(label_names) if given else None
    splits, notes = {}, []
    for split, table in tables.items():
        pair = [columns.texts(table, column) for column in texts]
        if blank := sum(not "".join(row).strip() for row in zip(*pair, strict=True)):
            notes.append(f"{split} has {blank} rows without text")
        second = pair[1] if len(pair) == 2 else None
        optional = split == "test" or given
        if label is None or (optional and columns.hidden(table, label, label_names)):
            labels = None
        else:
            labels = _labels(table, label, label_names, number)
        splits[split] = text.tokenized(tokenizer, pair[0], second, labels, max_length)
    return Task(
        name=name,
        splits=subsets.with_share(splits, heldout),
        label_names=tuple(label_names),
        metrics=_metrics(label_names),
        collate=text.collate(lengths, tokenizer.pad_id),
        lengths=lengths,
        window=window,
        positive=class_names.last(label_names) if len(label_names) == 2 else None,
        note="; ".join(notes),
    )


def read(data: str | pathlib.Path | Mapping[str, str | pathlib.Path]) -> dict[str, Table]:
    """The tables of a user's data by split: of a mapping, a folder, or one file, which is train.

    Raises:
      FileNotFoundError: a file or a split that does not exist.
      ValueError: another split, or a file that cannot be read.
    """
    if isinstance(data, Mapping):
        tables = {split: sources.read(file) for split, file in data.items()}
    elif pathlib.Path(data).is_dir():
        tables = sources.read_splits(pathlib.Path(data), SPLITS)
    else:
        tables = {"train": sources.read(data)}
    for split in tables:
        checks.choice("split", split, SPLITS)
    return tables


def _labels(table: Table, label: str, label_names: Sequence[str], number) -> np.ndarray:
    if label_names:
        return columns.classes_by_name(table, label, label_names, number)
    return columns.numbers(table, label)


def _metrics(label_names: tuple[str, ...]) -> tuple[str, ...]:
    if not label_names:
        return ("pearson_spearman", "pearson", "spearman")
    # F1 is of class 1, which only two classes have in the usual sense.
    return ("accuracy", "f1", "matthews") if len(label_names) == 2 else ("accuracy", "matthews")
