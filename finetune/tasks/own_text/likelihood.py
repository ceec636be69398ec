"""A reading of given text: what the model says of it token by token, and nothing is written."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from finetune.models.parts.token_parts import IGNORED, surprisals
from finetune.tasks.tokens.ragged import Ragged


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihood:
    """A `Reading`: loss = -(1 / T) sum_t log p(token t | those before it) over all T labelled
    tokens of a split, perplexity = exp(loss), and the share of rows that are exactly matched.

    A row is matched where each of its tokens is the likeliest after those before it: greedy
    decoding would write exactly this row. Labels are the tokens themselves, Ragged (n,).

    Attributes:
      matched: whether the share of matched rows is a score.

    Example:
      >>> labels = Ragged.from_rows([[3, 1], [4]])
      >>> result = np.array([[0.5, 2, 1], [1.0, 1, 0]])  # sum of losses, tokens, matched
      >>> Likelihood().score(result, labels)
      {'loss': 0.5, 'perplexity': 1.6487212707001282, 'exact_match': 0.5}
    """

    matched: bool = True

    taught = True
    room = 0
    refusal = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """loss, perplexity, and exact_match where rows are answers."""
        return ("loss", "perplexity", "exact_match")[: 2 + self.matched]

    def answer(self, task: Any, network: Any, params: Any, ops: Any, batch: Mapping[str, Any]):
        """float32 (b, 3): the sum of a row's losses, its tokens, and 1 where it is matched."""
        del task
        labels = {"own": batch["labels"]}
        inputs = {name: leaf for name, leaf in batch.items() if name not in ("labels", "weight")}

        def part(logits, labels):
            own, counted = labels["own"], labels["own"] != IGNORED
            right = jnp.all((jnp.argmax(logits, axis=-1) == own) | ~counted, axis=1)
            return surprisals(logits, own).sum(axis=1), counted.sum(axis=1), right

        losses, tokens, right = network.by_tokens(part, params, inputs, labels, ops)
        columns = losses.sum(axis=0), tokens.sum(axis=0), right.all(axis=0)
        return jnp.stack([column.astype(jnp.float32) for column in columns], axis=1)

    def predict(self, answers: np.ndarray) -> np.ndarray:
        """The same numbers in float64, so that sums over a split are exact enough."""
        return np.asarray(answers, np.float64)

    def score(self, predictions: np.ndarray, labels: Ragged) -> dict[str, float]:
        """The metrics of a split."""
        del labels
        losses, tokens, right = predictions.T
        return self._scores(float(losses.sum() / tokens.sum()), float(right.mean()))

    def majority(self, labels: Ragged) -> dict[str, float]:
        """The score of the best guess that does not look at the text: its tokens' frequencies."""
        _, counts = np.unique(labels.values, return_counts=True)
        share = counts / counts.sum()
        ends = zip(labels.offsets, labels.offsets[1:], strict=False)
        rows = collections.Counter(labels.values[a:b].tobytes() for a, b in ends)
        most = max(rows.values()) / len(labels)
        return self._scores(float(-share @ np.log(share)), most)

    def records(self, predictions: np.ndarray, labels: Ragged | None) -> list[dict[str, Any]]:
        """loss, tokens and exact_match of every row."""
        del labels
        rows = [{"loss": total / n, "tokens": int(n)} for total, n, _ in predictions.tolist()]
        if self.matched:
            for row, right in zip(rows, predictions[:, 2], strict=True):
                row["exact_match"] = bool(right)
        return rows

    def _scores(self, loss: float, matched: float) -> dict[str, float]:
        # exp overflows behind 709, where a model says nothing anyway.
        perplexity = math.exp(loss) if loss < 700 else math.inf
        values = {"loss": loss, "perplexity": perplexity, "exact_match": matched}
        return {name: values[name] for name in self.metrics}
