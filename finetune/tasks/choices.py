"""Reading a language model's answer to a question with given answers: exact match, and a choice.

k answers ("positive", "negative"), each a row of tokens that ends with the end token; b rows of a
batch, V of the vocabulary. Two numbers are taken from the model, and they are different claims:

* exact match: greedy decoding writes the right answer and stops. It does so if and only if the
  likeliest token is the answer's at every place, given the answer's tokens before it, so that one
  forward pass decides it.
* restricted: the likeliest of the k answers, whatever else the model would rather say. Where the
  answers agree up to a place and all differ there, their tokens' logits at that place decide
  (first-token comparison of the T5 protocol of LoRA-GA); otherwise the log-likelihoods of the
  whole answers, in k more passes.

The metrics of GLUE are those of the restricted choice, as the published tables have them. Always
choosing one answer can score well there (MRPC 68.38 is 279/408, its majority class).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.parts.token_parts import IGNORED, surprisals
from finetune.tasks import metrics

OWN = ("exact_match", "label_restricted")


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """Predictions of n rows.

    Attributes:
      classes: the restricted choice, int64 (n,).
      exact: greedy decoding writes the row's own answer, bool (n,).
    """

    classes: np.ndarray
    exact: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


@dataclasses.dataclass(frozen=True, eq=False)
class Choices:
    """A `Reading` of k given answers.

    Attributes:
      names: the answers as text.
      tokens: their ids with the end token, k rows.
      own: the task's metrics on the restricted choice, the main one first.
      values: for a regression the number that an answer stands for, float (k,); else None.

    Raises:
      ValueError: two answers with the same tokens.
    """

    names: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    own: tuple[str, ...]
    values: np.ndarray | None = None

    taught = True
    refusal = ""

    def __post_init__(self):
        for number, row in enumerate(self.tokens):
            if row in self.tokens[:number]:
                twin = self.names[self.tokens.index(row)]
                raise ValueError(
                    f"answers {twin!r} and {self.names[number]!r} have the same tokens; "
                    "allowed are answers that the tokenizer tells apart"
                )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The task's own on the restricted choice, then exact match and restricted accuracy."""
        return (*self.own, *OWN)

    @property
    def room(self) -> int:
        """Tokens of the longest answer."""
        return max(map(len, self.tokens))

    @property
    def place(self) -> int | None:
        """The first place at which the answers differ, if they all do; else None."""
        for place in range(min(map(len, self.tokens))):
            there = {row[place] for row in self.tokens}
            if len(there) > 1:
                return place if len(there) == len(self.tokens) else None
        return None

    def answer(self, task: Any, network: Any, params: Any, ops: Any, batch: Mapping[str, Any]):
        """float32 (b, k + 1): the answers' scores, and 1 where the row's own is exactly matched."""
        own = batch["labels"]
        inputs = {name: leaf for name, leaf in batch.items() if name not in ("labels", "weight")}
        first = jnp.argmax(own != IGNORED, axis=1)
        place = first + (self.place or 0)
        labels = {"own": own, "there": (jnp.arange(own.shape[1]) == place[:, None]) * 1}
        tokens = jnp.array([row[self.place or 0] for row in self.tokens])

        def part(logits, labels):
            own, there = labels["own"], labels["there"] == 1
            exact = jnp.all((jnp.argmax(logits, axis=-1) == own) | (own == IGNORED), axis=1)
            return exact, jnp.sum(jnp.where(there[..., None], logits[..., tokens], 0), axis=1)

        exact, scores = network.by_tokens(part, params, inputs, labels, ops)
        exact, scores = exact.all(axis=0), scores.sum(axis=0)
        if self.place is None:

            def log_likelihood(inputs, labels):
                return network.by_tokens(_log_likelihood, params, inputs, labels, ops).sum(axis=0)

            scores = self._likelihoods(task, log_likelihood, inputs, first, own.shape[1])
        return jnp.concatenate([scores.astype(jnp.float32), exact[:, None]], axis=1)

    def predict(self, answers: np.ndarray) -> Chosen:
        """From (n, k + 1)."""
        return Chosen(np.argmax(answers[:, :-1], axis=1), answers[:, -1] > 0)

    def score(self, predictions: Chosen, labels: np.ndarray) -> dict[str, float]:
        """The task's own metrics of the choice, `exact_match`, and the share of right choices."""
        right = metrics.accuracy(predictions.classes, self.classes(labels))
        if self.values is None:
            own = metrics.score(self.own, predictions.classes, labels, len(self.names))
        else:
            own = metrics.score(self.own, self.values[predictions.classes], labels, None)
        return {**own, "exact_match": float(np.mean(predictions.exact)), "label_restricted": right}

    def majority(self, labels: np.ndarray) -> dict[str, float]:
        """The score of the most frequent answer of these labels, always given and exactly."""
        classes = self.classes(labels)
        most = np.bincount(classes).argmax()
        return self.score(Chosen(np.full(len(classes), most), classes == most), labels)

    def classes(self, labels: np.ndarray) -> np.ndarray:
        """The answer of each row (n,): its class, or the answer next to its number."""
        if self.values is None:
            return np.asarray(labels)
        return np.abs(np.asarray(labels, np.float64)[:, None] - self.values).argmin(axis=1)

    def records(self, predictions: Chosen, labels: np.ndarray | None) -> list[dict[str, Any]]:
        """prediction, and where there are labels label and exact."""
        rows = [{"prediction": self.names[number]} for number in predictions.classes]
        if labels is None:
            return rows
        kept = zip(rows, self.classes(labels), predictions.exact, strict=True)
        return [{**r, "label": self.names[n], "exact_match": bool(e)} for r, n, e in kept]

    def _likelihoods(self, task, log_likelihood, inputs, first, length):
        """log p(answer | prompt) of every answer: (b, k)."""
        width = max(map(len, self.tokens))
        table = np.full((len(self.tokens), width), IGNORED, np.int32)
        for number, row in enumerate(self.tokens):
            table[number, : len(row)] = row

        places = jnp.arange(length) - first[:, None]

        def of_row(row):
            inside = (places >= 0) & (places < width)
            own = jnp.where(inside, row[jnp.clip(places, 0, width - 1)], IGNORED)
            return log_likelihood(_given(task, inputs, first, row), {"own": own})

        return jax.lax.map(of_row, jnp.asarray(table)).T


def _log_likelihood(logits, labels):
    """log p of the labelled tokens of each row: (b,)."""
    return -jnp.sum(surprisals(logits, labels["own"]), axis=1)


def _given(task, inputs, first, row) -> dict[str, Any]:
    """The inputs with the tokens `row` (T,) in the place of each row's own answer."""
    width = row.shape[0]
    filled = jnp.where(row == IGNORED, task.pad_id, row)
    if task.kind == "encoder_decoder":
        given = inputs["decoder_input_ids"]
        return {**inputs, "decoder_input_ids": given.at[:, 1:width].set(filled[:-1])}
    places = jnp.arange(inputs["input_ids"].shape[1]) - first[:, None] - 1
    inside = (places >= 0) & (places < width - 1)
    ids = jnp.where(inside, filled[jnp.clip(places, 0, width - 1)], inputs["input_ids"])
    return {
        **inputs,
        "input_ids": ids,
        "attention_mask": (places < jnp.sum(row != IGNORED) - 1) * 1,
    }


def tokens_of(answers: Sequence[str], vocabulary: Any) -> tuple[tuple[int, ...], ...]:
    """Ids of answers as they follow a prompt, each with the end token."""
    return tuple((*row, vocabulary.end_id) for row in vocabulary.words(answers))
