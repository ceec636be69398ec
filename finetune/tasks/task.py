"""The record that training sees of a task: batches, loss, prediction and score.

n rows of a split, b rows of a batch, k outputs of the model (classes, or 1 for regression).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from finetune.tasks import batches, metrics
from finetune.tasks.splits import Batch, Split, Splits
from finetune.tasks.tokens.ragged import Ragged
from rankwise import checks


@dataclasses.dataclass(frozen=True, eq=False)
class Task(Splits):
    """Columns on the host and pure functions of them; two tasks are equal if they are one object.

    Attributes:
      name: as in `finetune.tasks.names()`.
      splits: split name -> rows.
      label_names: one name per class; () for regression.
      metrics: names in `finetune.tasks.metrics`, the main one first.
      collate: (inputs of a split, row numbers (b,)) -> the model's inputs, numpy, first axis b.
      lengths: the lengths that text is padded to, which bound how often a step is compiled.
      window: batches that are sorted by length together, see `batches.shuffled`.
      positive: number of the class that F1 counts; None where no metric is F1.
      note: what has to be said beside a score on these data; "" if nothing.

    Raises:
      ValueError: no split, a split that is empty, a text without tokens, or an unknown metric.
    """

    name: str
    splits: Mapping[str, Split]
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    collate: Callable[[Mapping[str, np.ndarray | Ragged], np.ndarray], Batch]
    lengths: tuple[int, ...] = ()
    window: int = 1
    positive: int | None = None
    note: str = ""

    # Classes can always be scored, see `finetune.tasks.language.Reading`.
    refusal = ""

    def __post_init__(self):
        self._freeze()
        for name, split in self.splits.items():
            ids = split.inputs.get("input_ids")
            if isinstance(ids, Ragged) and not ids.lengths.all():
                row = split.index[np.argmin(ids.lengths)]
                raise ValueError(
                    f"text of row {row} of split {name!r} has 0 tokens; allowed are 1 or more "
                    "(it is empty, and the tokenizer adds none)"
                )
        allowed = metrics.REGRESSION if self.regression else metrics.CLASSIFICATION
        for metric in self.metrics:
            checks.choice("metrics", metric, tuple(allowed))
        checks.integer("window", self.window, 1)
        if self.positive is None and any("f1" in metric for metric in self.metrics):
            object.__setattr__(self, "positive", 1)

    @property
    def regression(self) -> bool:
        """True if the label is a number and not a class."""
        return not self.label_names

    @property
    def num_labels(self) -> int:
        """k, the number of outputs the model needs."""
        return len(self.label_names) or 1

    def batch(self, split: str, seed: int | None, step: int, batch_size: int) -> Batch:
        """Batch number `step`, a pure function of the arguments.

        Args:
          seed: of the shuffling; None for one pass in the order of the rows.
          step: from 0; with a seed it runs on through the epochs.

        Returns:
          What `collate` gives (text: input_ids, attention_mask, token_type_ids; images: pixels),
          with labels (b,) and weight (b,) float32, which is 0 for rows that only fill the batch.

        Raises:
          ValueError: an unknown split, a negative seed or step, a batch size below 1.
        """
        rows = self.split(split)
        if seed is None:
            chosen = batches.in_order(len(rows), batch_size, step)
        else:
            ids = rows.inputs.get("input_ids")
            lengths = ids.lengths if isinstance(ids, Ragged) else None
            chosen = batches.shuffled(len(rows), batch_size, seed, step, lengths, self.window)
        labels = rows.labels
        if labels is None:
            labels = np.zeros(len(rows), np.float32 if self.regression else np.int32)
        return {
            **self.collate(rows.inputs, chosen.indices),
            "labels": labels[chosen.indices],
            "weight": chosen.weight,
        }

    def in_order(self, split: str, batch_size: int) -> Iterator[Batch]:
        """All batches of one pass in the order of the rows, the last one filled up."""
        for step in range(self.steps(split, batch_size)):
            yield self.batch(split, None, step, batch_size)

    def loss(self, logits: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
        """sum_i w_i l_i / sum_i w_i in float32, l_i the cross-entropy or the squared error.

        Args:
          logits: (b, k), any floating type.
          labels: (b,).
          weight: (b,); all zero gives 0.
        """
        logits = logits.astype(jnp.float32)
        if self.regression:
            each = jnp.square(logits[..., 0] - labels.astype(jnp.float32))
        else:
            log_p = jax.nn.log_softmax(logits, axis=-1)
            each = -jnp.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
        weight = weight.astype(jnp.float32)
        total = jnp.sum(weight)
        return jnp.sum(each * weight) / jnp.where(total > 0, total, 1)

    def answer(self, network: Any, params: Any, ops: Any, batch: Mapping[str, Any]) -> jax.Array:
        """The logits (b, k) of a network without dropout, as `finetune.training.step` asks."""
        inputs = {name: leaf for name, leaf in batch.items() if name not in ("labels", "weight")}
        return network.forward(params, inputs, ops, None)

    def predict(self, logits):
        """Classes argmax_k logits (b,), or the number itself for regression; numpy or jax."""
        return logits[..., 0] if self.regression else logits.argmax(-1)

    def gathered(self, split: str, logits: Iterable[jax.Array]) -> np.ndarray:
        """The logits (b, k) of the batches of `in_order` as one float32 array (n, k)."""
        return super().gathered(split, (np.asarray(part, np.float32) for part in logits))

    def score(self, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Metric name -> value as a fraction, main metric first; see `metrics.score`."""
        classes = None if self.regression else self.num_labels
        positive = 1 if self.positive is None else self.positive
        return metrics.score(self.metrics, predictions, labels, classes, positive)

    @property
    def positive_class(self) -> str | None:
        """Name of the class that F1 counts; None where no metric is F1."""
        return None if self.positive is None else self.label_names[self.positive]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """softmax(logits) in float64, (n, k), of classes."""
        shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    def majority(self, split: str) -> dict[str, float]:
        """The score of always answering the most frequent class of this very split.

        No constant answer has a higher accuracy, so a model at this value has learnt nothing. For
        regression it is the score of a constant, 0 for correlations.
        """
        labels = self.labels(split)
        if self.regression:
            return self.score(np.zeros(len(labels)), labels)
        return self.score(np.full(len(labels), np.bincount(labels).argmax()), labels)
