"""Readings of text that a language model writes itself: tokens on the device, text on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from finetune.tasks.tokens.vocabulary import Vocabulary
from rankwise import checks


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratedText:
    """The part of a `Reading` that makes text; `predict`, `score` and `majority` are of its heirs.

    A draw depends on the seed, the number of the row and of the sample, and the batch size.

    Attributes:
      vocabulary: of the tokenizer.
      length: tokens that are written at most; a row ends with the token that ends a text.
      samples: texts per row.
      temperature: 0 writes the likeliest token, else draws.
      top_p: draws from the likeliest tokens of at least this probability.
      seed: of the draws.
      ends: further tokens that end a row.

    Raises:
      ValueError: a length or number of samples below 1, or several samples that would be equal.
    """

    vocabulary: Vocabulary
    length: int
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    ends: tuple[int, ...] = ()

    stopped = None  # or what else ends a row, see `generate`
    taught = False
    refusal = ""

    def __post_init__(self):
        checks.integer("length", self.length, 1)
        if checks.integer("samples", self.samples, 1) > 1 and self.temperature == 0:
            raise ValueError(
                f"temperature is 0; allowed for {self.samples} samples are numbers above, "
                "as they are all the same otherwise"
            )

    @property
    def room(self) -> int:
        """Tokens of the longest text."""
        return self.length

    def answer(self, task: Any, network: Any, params: Any, ops: Any, batch: Mapping[str, Any]):
        """int32 (b, samples, length), the token that ends a text behind a row that has ended."""
        from finetune.tasks.generation import generate

        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        key = jax.random.fold_in(jax.random.key(self.seed), batch["row"][0])

        def begin(inputs):
            return network.begin(params, inputs, ops, self.length)

        def advance(cache, tokens):
            return network.advance(params, cache, tokens, ops)

        def completions(sample):
            return generate(
                begin,
                advance,
                inputs,
                length=self.length,
                stop=(self.vocabulary.end_id, *self.ends),
                pad=self.vocabulary.end_id,  # so that `ended` cuts also what no token has ended
                ended=self.stopped,
                temperature=self.temperature,
                top_p=self.top_p,
                key=jax.random.fold_in(key, sample) if self.temperature else None,
            )

        # One after the other: each has a cache of its own.
        return jnp.moveaxis(jax.lax.map(completions, jnp.arange(self.samples)), 0, 1)

    def texts(self, answers: np.ndarray) -> list[list[str]]:
        """The samples of every row as text, without what follows the end."""
        return [[self.vocabulary.decode(self.ended(tokens)) for tokens in row] for row in answers]

    def ended(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of a row before the one that ends it."""
        ended = np.isin(np.asarray(tokens), (self.vocabulary.end_id, *self.ends))
        return list(tokens[: int(ended.argmax())] if ended.any() else tokens)
