"""Prompts that a language model goes on with: what it writes, and why it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from finetune.tasks import text
from finetune.tasks.generated_text import GeneratedText
from finetune.tasks.language import LanguageTask
from finetune.tasks.own_text import examples
from finetune.tasks.prompts import paired
from finetune.tasks.splits import Split
from finetune.tasks.text_to_text import vocabulary_of
from finetune.tasks.tokens.chat import Message
from finetune.tasks.tokens.tokenizer import Tokenizer

SPLIT = "prompts"
STOP, LENGTH = "stop", "length"


@dataclasses.dataclass(frozen=True, eq=False)
class Completions(GeneratedText):
    """A `Reading` of free text, which is not scored.

    Attributes:
      words: texts before the first of which a completion is cut off.
    """

    words: tuple[str, ...] = ()

    metrics = ()
    refusal = "what a model writes freely is not scored"

    @property
    def stopped(self):
        """(tokens (b, length), how many are written) -> (b,) bool: where a word is."""
        if not self.words:
            return None

        def with_word(tokens: jax.Array, count: jax.Array) -> jax.Array:
            rows = jax.ShapeDtypeStruct(tokens.shape[:1], bool)
            return jax.pure_callback(self._with_word, rows, tokens, count)

        return with_word

    def _with_word(self, tokens, count) -> np.ndarray:
        rows = np.asarray(tokens)[:, : int(count)]
        # A new word ends in the newest token; it is as long as its bytes at most.
        recent = max(len(word.encode()) for word in self.words)
        return np.array([self._has(row[-recent:]) and self._has(row) for row in rows])

    def _has(self, tokens: np.ndarray) -> bool:
        written = self.vocabulary.decode(self.ended(tokens))
        return any(word in written for word in self.words)

    def predict(self, answers: np.ndarray) -> list[list[dict[str, Any]]]:
        """completion, tokens and finish_reason of every row and sample: "stop" where a token or a
        word has ended it, "length" where no tokens were left."""
        return [[self._read(sample) for sample in row] for row in np.asarray(answers)]

    def records(self, predictions: Sequence, labels: Any = None) -> list[dict[str, Any]]:
        """One entry per row and sample."""
        del labels
        return [sample for row in predictions for sample in row]

    def _read(self, tokens: np.ndarray) -> dict[str, Any]:
        ids = self.ended(tokens)
        written, ended = self.vocabulary.decode(ids), len(ids) < len(tokens)
        places = [place for word in self.words if (place := written.find(word)) >= 0]
        if places:
            written, ended = written[: min(places)], True
        reason = STOP if ended else LENGTH
        return {"completion": written, "tokens": len(ids), "finish_reason": reason}


def load(
    prompts: Sequence[str | Sequence[Message]],
    tokenizer: Tokenizer,
    kind: str,
    *,
    chat: bool = False,
    length: int = 128,
    samples: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    words: Sequence[str] = (),
) -> LanguageTask:
    """The task of writing completions, with the split "prompts" alone.

    Args:
      prompts: texts, or chats, which are rendered by the tokenizer's template.
      tokenizer: of the model; its `vocabulary` must be there.
      kind: "causal" or "encoder_decoder".
      chat: texts too are rendered, as what the user says.
      length: tokens that are written at most.
      samples, temperature, top_p, seed: see `GeneratedText`.
      words: stop words.

    Raises:
      ValueError: no prompt, an empty one or an empty stop word, a template that is missing or
        refuses a chat, and what `GeneratedText` refuses.

    Example:
      load(["The capital of France is"], load_tokenizer("models/llama"), "causal", length=8)
    """
    vocabulary = vocabulary_of(tokenizer)
    if not prompts:
        raise ValueError("prompts has 0 rows; allowed are 1 or more")
    if not all(words):
        raise ValueError("a stop word is empty; allowed are texts of a character or more")
    rendered = [chat or not isinstance(prompt, str) for prompt in prompts]
    ends = {end: None for chats in set(rendered) for end in examples.ends(tokenizer, chats)}
    rows = []
    for number, (prompt, as_chat) in enumerate(zip(prompts, rendered, strict=True)):
        if as_chat:
            said = [examples.said("user", prompt)] if isinstance(prompt, str) else prompt
            try:
                asked = examples.template(tokenizer).text(said, answering=True)
            except ValueError as error:
                raise ValueError(f"prompt {number}: {error}") from None
            rows += vocabulary.plain([asked])
        else:
            rows += examples.asked([prompt], vocabulary, kind)
        if not rows[-1]:
            raise ValueError(f"prompt {number} is empty; allowed are texts of a token or more")
    # The answers are never read: the model writes its own.
    inputs = paired(rows, [[vocabulary.end_id]] * len(rows))
    return LanguageTask(
        name=SPLIT,
        splits={SPLIT: Split(inputs, None)},
        kind=kind,
        reading=Completions(
            vocabulary, length, samples, temperature, top_p, seed, tuple(ends), tuple(words)
        ),
        pad_id=tokenizer.pad_id,
        start_id=tokenizer.pad_id,
        lengths=text.buckets(max(8, max(map(len, rows)))),
        target_lengths=(1,),
    )
