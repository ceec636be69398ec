"""What all tasks are: named splits of rows on the host, one of which is the one to be scored."""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Self

import jax
import numpy as np

from finetune.tasks import batches, metrics
from finetune.tasks.tokens.ragged import Ragged
from rankwise import checks

Batch = dict[str, np.ndarray]
# The first of these that a task has is the split it is scored on.
EVALUATION = ("validation", "validation_matched", "heldout", "test", "test_matched")


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split, as columns on the host.

    Attributes:
      inputs: column name -> n rows.
      labels: what they are scored against, shape (n,): int32 classes, float32 numbers, or what a
        reading of text takes; None where they are not published.
      index: the rows' numbers where they were read, from 0, int64 (n,); None is 0 to n - 1.
    """

    inputs: Mapping[str, np.ndarray | Ragged]
    labels: np.ndarray | None
    index: np.ndarray | None = None

    def __post_init__(self):
        if self.index is None:
            object.__setattr__(self, "index", np.arange(len(self)))

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of inputs and labels in their order, half of it in hexadecimal digits.

        Of texts it sees the token ids, that is, what a model sees of them.
        """
        digest = hashlib.sha256()
        for name, column in sorted({**self.inputs, "labels": self.labels}.items()):
            ragged = isinstance(column, Ragged)
            for part in (column.offsets, column.values) if ragged else (column,):
                if part is None:
                    continue
                digest.update(f"{name} {part.dtype.str} {part.shape};".encode())
                digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8))
        return digest.hexdigest()[:32]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, indices: np.ndarray) -> Split:
        """The rows at `indices`."""
        labels = None if self.labels is None else self.labels[indices]
        inputs = {name: column[indices] for name, column in self.inputs.items()}
        return Split(inputs, labels, self.index[indices])


class Splits(abc.ABC):
    """The part of `Task` and `LanguageTask` that only knows rows; both are frozen dataclasses."""

    name: str
    splits: Mapping[str, Split]
    metrics: tuple[str, ...]

    @abc.abstractmethod
    def in_order(self, split: str, batch_size: int) -> Iterator[Batch]:
        """The batches of an evaluation, in the order of the rows, the last one filled up."""

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return self.metrics[0]

    def gain(self, score: float) -> float:
        """A value of the main metric on a scale where more is better: -score of a loss."""
        return metrics.gain(self.metric, score)

    @property
    def evaluation(self) -> str:
        """The split that scores are reported on; its name belongs beside the score.

        Raises:
          ValueError: the task has no labelled split but its training split.
        """
        for name in EVALUATION:
            if name in self.splits and self.splits[name].labels is not None:
                return name
        raise ValueError(
            f"splits of task {self.name!r} are {', '.join(self.splits)}; "
            f"allowed is one with labels among {', '.join(EVALUATION)}: add such a file, "
            "or hold rows of your own file out (--heldout=0.2)"
        )

    def split(self, name: str) -> Split:
        """The rows of a split.

        Raises:
          ValueError: a split that the task does not have.
        """
        checks.choice("split", name, tuple(self.splits))
        return self.splits[name]

    def labels(self, split: str) -> np.ndarray:
        """Labels (n,) of a split.

        Raises:
          ValueError: an unknown split, or one whose labels are not published.
        """
        labels = self.split(split).labels
        if labels is None:
            raise ValueError(
                f"split is {split!r}, which has no labels: it can be predicted and not scored; "
                "allowed to score are splits with labels, and else --predictions=FILE"
            )
        return labels

    def size(self, split: str) -> int:
        """What batches of a split are made of: its n rows."""
        return len(self.split(split))

    def steps(self, split: str, batch_size: int) -> int:
        """Batches in one pass through a split, ceil(n / batch_size)."""
        return batches.steps_per_epoch(self.size(split), batch_size)

    def pass_size(self, split: str, batch_size: int, devices: int = 1) -> int:
        """The batch size at most `batch_size` with which one pass fills up the fewest rows.

        Raises:
          ValueError: an unknown split.
        """
        return batches.even_size(self.size(split), batch_size, devices)

    def tokens(self, split: str) -> np.ndarray:
        """Tokens that a model reads of each row of a split of text, int64 (n,)."""
        return self.split(split).inputs["input_ids"].lengths

    def run(self, forward: Callable[[Batch], jax.Array], split: str, batch_size: int) -> np.ndarray:
        """forward(batch) -> answers over a whole split in order, without the filling: (n, ...)."""
        return self.gathered(split, map(forward, self.in_order(split, batch_size)))

    def gathered(self, split: str, answers: Iterable[jax.Array]) -> np.ndarray:
        """The answers (b, ...) to the batches of `in_order` as one array (n, ...)."""
        return np.concatenate([np.asarray(part) for part in answers])[: len(self.split(split))]

    def select(self, split: str, indices: np.ndarray) -> Self:
        """The same task with only the rows at `indices` in one split.

        Raises:
          ValueError: an unknown split, or no rows.
        """
        rows = self.split(split)[np.asarray(indices, np.int64)]
        return dataclasses.replace(self, splits={**self.splits, split: rows})

    def _freeze(self) -> None:
        """Refuses splits without rows, and keeps the mapping from being written to."""
        if not self.splits:
            raise ValueError(f"task {self.name!r} has no split; allowed is at least one")
        for name, split in self.splits.items():
            if not len(split):
                raise ValueError(
                    f"split {name!r} of task {self.name!r} has 0 rows; allowed are 1 or more"
                )
        object.__setattr__(self, "splits", types.MappingProxyType(dict(self.splits)))
