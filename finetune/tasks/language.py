"""The record that training sees of a task of a language model: prompts, answers, and a reading.

n rows of a split, b rows of a batch, L tokens of the inputs, T of the labels, V of the vocabulary.
How a split is scored, by what the model says of given answers or by what it writes itself, is the
task's `reading`; the loop only sees `answer`, `run`, `predict` and `score`, as of any `Task`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.parts.token_parts import IGNORED, surprisals
from finetune.tasks import batches, prompts
from finetune.tasks.splits import Batch, Split, Splits
from rankwise import checks

KINDS = ("causal", "encoder_decoder")


class Reading(Protocol):
    """How the answers of a model are found and scored.

    Attributes:
      metrics: names, the main one first.
      taught: the answers of an evaluation are given to the model; else it writes its own.
      room: tokens of the longest answer that it gives or writes.
      refusal: why predictions can be made and not scored; "" if they can.
    """

    metrics: tuple[str, ...]
    taught: bool
    room: int
    refusal: str

    def answer(self, task: LanguageTask, network: Any, params: Any, ops: Any, batch: Any):
        """An array (b, ...) of what is kept of a batch; to be compiled."""

    def predict(self, answers: np.ndarray) -> Sequence:
        """One prediction per row from these arrays (n, ...)."""

    def score(self, predictions: Sequence, labels: np.ndarray) -> dict[str, float]:
        """Metric name -> value as a fraction."""

    def majority(self, labels: np.ndarray) -> dict[str, float]:
        """The score of the best constant answer."""

    def records(self, predictions: Sequence, labels: np.ndarray | None) -> list[dict[str, Any]]:
        """One entry of a file of predictions per row."""


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageTask(Splits):
    """Prompts and answers as token ids; it has what training uses of a `finetune.tasks.Task`.

    Attributes:
      name: as in `finetune.tasks.names()`.
      splits: split name -> rows; the inputs are "source" and "target", Ragged token ids with all
        special tokens (a target ends with the token that ends a text); labels are the reading's.
      kind: "causal" or "encoder_decoder".
      reading: how answers are found and scored.
      pad_id: fills prompts up, under the mask.
      start_id: what the decoder of an encoder-decoder begins with; T5's is its padding.
      lengths: what prompts are padded to.
      target_lengths: what answers are padded to; a causal model's inputs to `prompts.together`.
      window: batches that are sorted by length together, see `batches.shuffled`.
      note: what has to be said beside a score on these data; "" if nothing.
      chat: prompts are chats in the tokenizer's template, and what is asked later should be one.

    Raises:
      ValueError: an unknown kind, no split, an empty split, or lengths that are too short.

    Example:
      tasks.load(TaskConfig("mrpc", form="text_to_text", kind="encoder_decoder"), folder)
    """

    name: str
    splits: Mapping[str, Split]
    kind: str
    reading: Reading
    pad_id: int
    lengths: tuple[int, ...]
    target_lengths: tuple[int, ...]
    start_id: int = 0
    window: int = 1
    note: str = ""
    chat: bool = False
    num_labels: int = dataclasses.field(default=0, init=False)

    def __post_init__(self):
        checks.choice("kind", self.kind, KINDS)
        checks.integer("window", self.window, 1)
        self._freeze()
        for name, split in self.splits.items():
            for column, lengths in (("source", self.lengths), ("target", self.target_lengths)):
                longest = int(split.inputs[column].lengths.max())
                checks.integer(f"{column} of split {name!r}", longest, 1, lengths[-1])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, the main one first."""
        return self.reading.metrics

    @property
    def refusal(self) -> str:
        """Why predictions can be made and not scored; "" if they can."""
        return self.reading.refusal

    def batch(self, split: str, seed: int | None, step: int, batch_size: int) -> Batch:
        """Batch number `step` of prompts with their answers, a pure function of the arguments.

        Args:
          seed: of the shuffling; None for one pass in the order of the rows.
          step: from 0; with a seed it runs on through the epochs.

        Returns:
          input_ids and attention_mask (b, L) int32, for an encoder-decoder decoder_input_ids
          (b, T) int32, labels (b, L or T) int32, and weight (b,) float32: the tokens of a row that
          carry loss, 0 for rows that only fill the batch.

        Raises:
          ValueError: an unknown split, a negative seed or step, a batch size below 1.
        """
        rows = self.split(split)
        if seed is None:
            chosen = batches.in_order(len(rows), batch_size, step)
        else:
            lengths = rows.inputs["source"].lengths + rows.inputs["target"].lengths
            chosen = batches.shuffled(len(rows), batch_size, seed, step, lengths, self.window)
        return self._taught(rows, chosen)

    def in_order(self, split: str, batch_size: int) -> Iterator[Batch]:
        """The batches of an evaluation, in the order of the rows, the last one filled up.

        Those of `batch`, or where the model writes its answers itself only input_ids,
        attention_mask and `row` (b,), the rows' numbers.
        """
        rows = self.split(split)
        for step in range(self.steps(split, batch_size)):
            chosen = batches.in_order(len(rows), batch_size, step)
            yield self._taught(rows, chosen) if self.reading.taught else self._asked(rows, chosen)

    def loss(self, logits: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
        """sum of the cross-entropies of all labelled tokens / sum_i weight_i, in float32.

        Args:
          logits: (b, T, V), any floating type.
          labels: (b, T), -100 for what carries no loss.
          weight: (b,); rows of weight 0 do not count, all zero gives 0.
        """
        own = jnp.where(weight[:, None] > 0, labels, IGNORED)
        total = jnp.sum(weight.astype(jnp.float32))
        return jnp.sum(surprisals(logits, own)) / jnp.where(total > 0, total, 1)

    def answer(self, network: Any, params: Any, ops: Any, batch: Mapping[str, Any]) -> jax.Array:
        """What the reading keeps of a batch of `in_order`: (b, ...)."""
        return self.reading.answer(self, network, params, ops, batch)

    def predict(self, answers: np.ndarray) -> Sequence:
        """One prediction per row of `run`."""
        return self.reading.predict(answers)

    def score(self, predictions: Sequence, labels: np.ndarray) -> dict[str, float]:
        """Metric name -> value as a fraction, main metric first."""
        return self.reading.score(predictions, labels)

    def records(self, predictions: Sequence, labels: np.ndarray | None) -> list[dict[str, Any]]:
        """Entries of a file of predictions, as many per row as it has samples."""
        return self.reading.records(predictions, labels)

    def majority(self, split: str) -> dict[str, float]:
        """The score of the best constant answer: a model at this value has learnt nothing."""
        return self.reading.majority(self.labels(split))

    def _taught(self, rows: Split, chosen: batches.Rows) -> Batch:
        # Room for any answer, where the reading puts others in this one's place.
        room = self.reading.room if self.reading.taught else 0
        lengths = (self.lengths, self.target_lengths, room)
        if self.kind == "causal":
            return prompts.causal(rows.inputs, chosen, self.pad_id, *lengths)
        return prompts.encoder_decoder(rows.inputs, chosen, self.pad_id, self.start_id, *lengths)

    def _asked(self, rows: Split, chosen: batches.Rows) -> Batch:
        asked = prompts.asked(rows.inputs["source"], chosen.indices, self.pad_id, self.lengths)
        return {**asked, "row": chosen.indices.astype(np.int32)}
