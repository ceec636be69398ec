"""SQuAD for encoders: the answer is a span of the paragraph, marked by its first and last token."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from finetune.tasks import batches
from finetune.tasks.splits import Batch, Split, Splits
from finetune.tasks.squad import decoding, rules, windows
from finetune.tasks.squad.files import Question
from finetune.tasks.squad.windows import Windows
from rankwise import checks

N_BEST = 20
LONGEST = 30
"""Tokens of an answer."""
MARKED = np.dtype(
    [("question", "i8"), ("begin", "i8"), ("end", "i8"), ("span", "f8"), ("null", "f8")]
)
"""Of a question its best span: the characters, its score, and the score of saying nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """Answers to n questions.

    Attributes:
      questions: their numbers in `SpanTask.questions`, int (n,).
      texts: what is answered, "" for none.
      spans: the best span, whether or not it is the answer; "" where there is none.
      differences: score of saying nothing - score of that span, float64 (n,).
    """

    questions: np.ndarray
    texts: list[str]
    spans: list[str]
    differences: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


@dataclasses.dataclass(frozen=True, eq=False)
class SpanTask(Splits):
    """Questions as rows, windows of their paragraphs in the batches.

    A row is a question: it is what is counted, drawn, held out, predicted and scored. A batch, an
    epoch and a step have windows of them, and `gathered` brings these together again.

    Attributes:
      name: "squad" or "squad_v2".
      splits: split name -> rows; the inputs are those of `windows.columns`, and `number`, the
        questions' numbers, which are their labels too.
      questions: of all splits.
      pad_id: fills windows up.
      lengths: what they are padded to; the last is `max_length`.
      stride: tokens that a window has in common with the one before it.
      n_best: starts and ends that are tried.
      longest: tokens of an answer.
      threshold: of 2.0, a span is the answer where the null score - its score is at most this.
      window: batches that are sorted by length together, see `batches.shuffled`.
      note: what has to be said beside a score on these data; "" if nothing.

    Raises:
      ValueError: no split, an empty split, `n_best` or `longest` below 1, a negative stride.
    """

    name: str
    splits: Mapping[str, Split]
    questions: tuple[Question, ...]
    pad_id: int
    lengths: tuple[int, ...]
    stride: int
    n_best: int = N_BEST
    longest: int = LONGEST
    threshold: float = 0.0
    window: int = 1
    note: str = ""

    num_labels: ClassVar[int] = 2
    metrics: ClassVar[tuple[str, ...]] = rules.METRICS
    refusal: ClassVar[str] = ""

    def __post_init__(self):
        checks.integer("stride", self.stride, 0)
        checks.integer("n_best", self.n_best, 1)
        checks.integer("target_length", self.longest, 1)
        checks.integer("window", self.window, 1)
        self._freeze()

    @property
    def unanswerable(self) -> bool:
        """True of 2.0, where a question may have no answer."""
        return self.name == "squad_v2"

    @functools.cached_property
    def windows(self) -> dict[str, Windows]:
        """Split name -> its windows."""
        size = self.lengths[-1]
        return {n: windows.cut(part.inputs, size, self.stride) for n, part in self.splits.items()}

    def size(self, split: str) -> int:
        """What batches of a split are made of: its w windows."""
        self.split(split)
        return len(self.windows[split])

    def tokens(self, split: str) -> np.ndarray:
        """Tokens of each row's longest window, int64 (n,)."""
        return np.minimum(super().tokens(split), self.lengths[-1])

    def batch(self, split: str, seed: int | None, step: int, batch_size: int) -> Batch:
        """Batch number `step` of windows, a pure function of the arguments.

        Args:
          seed: of the shuffling; None for one pass in the order of the rows.
          step: from 0; with a seed it runs on through the epochs.

        Returns:
          What `windows.collated` gives, and weight (b,) float32, which is 0 for windows that only
          fill the batch.

        Raises:
          ValueError: an unknown split, a negative seed or step, a batch size below 1.
        """
        inputs = self.split(split).inputs
        cut = self.windows[split]
        if seed is None:
            chosen = batches.in_order(len(cut), batch_size, step)
        else:
            order = (cut.lengths, self.window)
            chosen = batches.shuffled(len(cut), batch_size, seed, step, *order)
        needed = cut.lengths[chosen.indices].max()
        length = next(length for length in self.lengths if length >= needed)
        batch = windows.collated(inputs, cut, chosen.indices, length, self.pad_id)
        return {**batch, "weight": chosen.weight}

    def in_order(self, split: str, batch_size: int) -> Iterator[Batch]:
        """All batches of one pass in the order of the rows, the last one filled up."""
        for step in range(self.steps(split, batch_size)):
            yield self.batch(split, None, step, batch_size)

    def loss(self, logits: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
        """The mean of the cross-entropies of starts and of ends, over all tokens of the batch.

        Padding is a token too, and a place behind the last one carries no loss, as in transformers.

        Args:
          logits: (b, L, 2), any floating type.
          labels: (b, 2).
          weight: (b,); all zero gives 0.
        """
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=1)
        places = jnp.clip(labels, 0, logits.shape[1])
        # One row behind the end, which clipped places read and which counts nothing.
        log_p = jnp.pad(log_p, [(0, 0), (0, 1), (0, 0)])
        each = -jnp.take_along_axis(log_p, places[:, None], axis=1)[:, 0]
        counted = weight[:, None].astype(jnp.float32) * (places < logits.shape[1])
        total = jnp.sum(counted, axis=0)
        return jnp.mean(jnp.sum(each * counted, axis=0) / jnp.where(total > 0, total, 1))

    def answer(self, network: Any, params: Any, ops: Any, batch: Mapping[str, Any]):
        """The `decoding.Candidates` of a batch."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        logits = network.forward(params, {name: batch[name] for name in names}, ops, None)
        return decoding.candidates(logits, batch["first"], batch["size"], self.n_best)

    def gathered(self, split: str, answers: Iterable[decoding.Candidates]) -> np.ndarray:
        """The best span of every row, an array (n,) of `MARKED`."""
        inputs, cut = self.split(split).inputs, self.windows[split]
        parts = [decoding.best(part, self.longest) for part in answers]
        best = decoding.Best(
            *(np.concatenate(column)[: len(cut)] for column in zip(*parts, strict=True))
        )
        number, null = decoding.of_rows(best, cut.row)
        marked = np.zeros(len(number), MARKED)
        marked["question"], marked["span"], marked["null"] = (
            inputs["number"],
            best.score[number],
            null,
        )
        there = np.isfinite(marked["span"])
        for name, edge, place in (("begin", "begins", best.first), ("end", "ends", best.last)):
            token = inputs[edge].offsets[:-1] + cut.start[number] + place[number]
            marked[name][there] = inputs[edge].values[token[there]]
        return marked

    def predict(self, answers: np.ndarray) -> Answers:
        """The `Answers` from the array of `gathered`."""
        spans = [
            self.questions[row["question"]].context[row["begin"] : row["end"]].strip()
            for row in answers
        ]
        differences = answers["null"] - answers["span"]
        silent = self.unanswerable & (differences > self.threshold)
        texts = ["" if quiet else span for quiet, span in zip(silent, spans, strict=True)]
        return Answers(answers["question"], texts, spans, differences)

    def score(self, predictions: Answers, labels: np.ndarray) -> dict[str, float]:
        """F1 and exact match; of 2.0 also by kind, and at the best thresholds with these."""
        right = [self.questions[number].answers for number in labels]
        scores = rules.score(predictions.texts, right)
        if not self.unanswerable:
            return scores
        scores |= decoding.by_kind(rules.each(predictions.texts, right), right)
        return scores | decoding.thresholds(predictions.spans, right, predictions.differences)

    def majority(self, split: str) -> dict[str, float]:
        """The score of the most frequent answer, which may be none."""
        labels = self.labels(split)
        most = rules.most_frequent([self.questions[number].answers for number in labels])
        same = [most] * len(labels)
        return self.score(Answers(labels, same, same, np.zeros(len(labels))), labels)

    def records(self, predictions: Answers, labels: np.ndarray | None) -> list[dict[str, Any]]:
        """id and prediction; of 2.0 the best span and its difference; where there are, answers."""
        rows = []
        for row, number in enumerate(predictions.questions):
            question = self.questions[number]
            record = {"id": question.id, "prediction": predictions.texts[row]}
            if self.unanswerable:
                difference = float(predictions.differences[row])
                difference = difference if np.isfinite(difference) else None  # JSON has no infinity
                record |= {"span": predictions.spans[row], "null_difference": difference}
            rows.append(record if labels is None else {**record, "answers": [*question.answers]})
        return rows
