"""The eight GLUE tasks, from the Hub or from a folder of files.

Sizes are the official ones (Wang et al., arXiv 1804.07461, in the `nyu-mll/glue` release); a file
with another number of rows is used and the task's note says so. Labels of the test splits are not
published: these splits can be predicted for a submission but not scored.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from finetune.tasks import text
from finetune.tasks.files import columns, sources
from finetune.tasks.files.table import Table
from finetune.tasks.task import Task
from finetune.tasks.tokens.tokenizer import Tokenizer
from rankwise import checks

REPOSITORY = "nyu-mll/glue"
ENTAILMENT = ("entailment", "not_entailment")
# The highest similarity in STS-B; the lowest is 0.
TOP_SCORE = 5.0


@dataclasses.dataclass(frozen=True)
class Spec:
    """What GLUE fixes about a task.

    Attributes:
      texts: one or two column names.
      label_names: class names by number; () for regression.
      metrics: the main one first.
      rows: official number of rows per split.
    """

    texts: tuple[str, ...]
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: Mapping[str, int]


def _rows(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


GLUE: dict[str, Spec] = {
    "cola": Spec(
        ("sentence",),
        ("unacceptable", "acceptable"),
        ("matthews", "accuracy"),
        _rows(8551, 1043, 1063),
    ),
    "sst2": Spec(("sentence",), ("negative", "positive"), ("accuracy",), _rows(67349, 872, 1821)),
    "mrpc": Spec(
        ("sentence1", "sentence2"),
        ("not_equivalent", "equivalent"),
        ("accuracy", "f1", "accuracy_f1"),
        _rows(3668, 408, 1725),
    ),
    "qqp": Spec(
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        ("accuracy", "f1", "accuracy_f1"),
        _rows(363846, 40430, 390965),
    ),
    "stsb": Spec(
        ("sentence1", "sentence2"),
        (),
        ("pearson_spearman", "pearson", "spearman"),
        _rows(5749, 1500, 1379),
    ),
    "mnli": Spec(
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        ("accuracy",),
        {
            "train": 392702,
            "validation_matched": 9815,
            "validation_mismatched": 9832,
            "test_matched": 9796,
            "test_mismatched": 9847,
        },
    ),
    "qnli": Spec(("question", "sentence"), ENTAILMENT, ("accuracy",), _rows(104743, 5463, 5463)),
    "rte": Spec(("sentence1", "sentence2"), ENTAILMENT, ("accuracy",), _rows(2490, 277, 3000)),
}


def load(
    name: str,
    tokenizer: Tokenizer,
    data_dir: str | pathlib.Path | None = None,
    max_length: int = 128,
    lengths: Sequence[int] = text.LENGTHS,
    window: int = 1,
    test: bool = False,
) -> Task:
    """A GLUE task as token ids.

    Args:
      name: cola, sst2, mrpc, qqp, stsb, mnli, qnli or rte.
      tokenizer: of the model.
      data_dir: folder with name/split.parquet (or .csv, .jsonl), or with the split files
        themselves; None for the Hub. Beside the official splits it may have "heldout", whose
        score is a held-out score and not a GLUE development score.
      max_length: tokens per row, special tokens included.
      lengths: what batches are padded to, see `text.buckets`.
      window: batches sorted by length together, see `batches.shuffled`.
      test: read the unlabelled test splits too.

    Raises:
      FileNotFoundError: data_dir has no file of the task.
      ConnectionError: no data_dir, and the Hub cannot be reached.
      ValueError: an unknown name, a missing column, a text that is not a string, a label that the
        task does not have, other classes in the file's metadata, an empty split.

    Example:
      load("rte", load_tokenizer("microsoft/deberta-v3-base"), "data/glue").majority("validation")
    """
    read = tables(name, data_dir, test)
    spec = GLUE[name]
    lengths = text.buckets(max_length, lengths)
    splits = {}
    for split, (table, labels) in read.items():
        pair = [columns.texts(table, column) for column in spec.texts]
        second = pair[1] if len(pair) == 2 else None
        splits[split] = text.tokenized(tokenizer, pair[0], second, labels, max_length)
    return Task(
        name=name,
        splits=splits,
        label_names=spec.label_names,
        metrics=spec.metrics,
        collate=text.collate(lengths, tokenizer.pad_id),
        lengths=lengths,
        window=window,
        note=note(name, splits),
    )


def tables(
    name: str, data_dir: str | pathlib.Path | None, test: bool = False
) -> dict[str, tuple[Table, np.ndarray | None]]:
    """Split -> table and labels (None for a test split), as `load` reads them.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: as `load`.
    """
    checks.choice("task", name, tuple(GLUE))
    spec = GLUE[name]
    names = [split for split in (*spec.rows, "heldout") if test or not split.startswith("test")]
    read = {}
    for split, table in sources.of_task(name, REPOSITORY, name, names, data_dir).items():
        labels = _labels(table, spec)
        if labels is None and not split.startswith("test"):
            raise ValueError(
                f"column 'label' of {table.origin} is -1 in all rows; allowed are labels, "
                "in all splits but test"
            )
        read[split] = table, labels
    return read


def note(name: str, splits: Mapping[str, Sequence]) -> str:
    """What of a task's splits is not official, or not complete; "" if all is."""
    parts = []
    for split, rows in splits.items():
        official = GLUE[name].rows.get(split)
        if official is None:
            parts.append(f"{split} is not an official split")
        elif official != len(rows):
            parts.append(f"{split} has {len(rows)} of {official} official rows")
    return "; ".join(parts)


def _labels(table: Table, spec: Spec):
    if spec.label_names:
        return columns.classes(table, "label", spec.label_names)
    return columns.numbers(table, "label", 0.0, TOP_SCORE)
