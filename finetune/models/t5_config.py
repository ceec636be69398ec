"""config.json of T5: original (ReLU, tied head) and version 1.1 (gated, its own head)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from finetune.models.config import (
    COUNT,
    MAYBE_SIZE,
    MAYBE_TOKEN,
    MAYBE_TOKENS,
    POSITIVE,
    RATE,
    SIZE,
    Config,
    entry,
    one_of,
)
from finetune.models.parts.layers import ACTIVATIONS

FORWARD = one_of(*ACTIVATIONS, *(f"gated-{name}" for name in ACTIVATIONS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config(Config):
    """The entries of a T5's config.json; num_decoder_layers None means as many as num_layers.

    tie_word_embeddings decides the head and its scale at once: the table of the input times
    d_model^-1/2, or a matrix of its own.
    """

    num_labels: int = entry(COUNT)
    pooling: str = entry(one_of("cls"), "cls")  # there is no choice: the decoder's state of eos
    vocab_size: int = entry(SIZE)
    d_model: int = entry(SIZE)
    d_kv: int = entry(SIZE)
    d_ff: int = entry(SIZE)
    num_layers: int = entry(SIZE)
    num_decoder_layers: int | None = entry(MAYBE_SIZE, None)
    num_heads: int = entry(SIZE)
    relative_attention_num_buckets: int = entry(SIZE, 32)
    relative_attention_max_distance: int = entry(SIZE, 128)
    dropout_rate: float = entry(RATE, 0.1)
    classifier_dropout: float = entry(RATE, 0.0)
    layer_norm_epsilon: float = entry(POSITIVE, 1e-6)
    initializer_factor: float = entry(POSITIVE, 1.0)
    feed_forward_proj: str = entry(FORWARD, "relu")
    tie_word_embeddings: bool = entry(one_of(False, True), True)
    decoder_start_token_id: int = entry(COUNT, 0)
    eos_token_id: int | tuple[int, ...] | None = entry(MAYBE_TOKENS, 1)
    pad_token_id: int | None = entry(MAYBE_TOKEN, 0)

    model_type: ClassVar[str] = "t5"
    fixed: ClassVar[dict] = {"is_encoder_decoder": one_of(True)}
    written: ClassVar[dict] = {"is_encoder_decoder": True}
    # Said once more by feed_forward_proj and tie_word_embeddings, or no part of the network.
    harmless: ClassVar[frozenset] = frozenset(
        ["dense_act_fn", "is_gated_act", "n_positions", "scale_decoder_outputs"]
    )

    @property
    def architecture(self) -> str:
        """The class of transformers."""
        labels = self.num_labels
        return "T5ForSequenceClassification" if labels else "T5ForConditionalGeneration"

    @property
    def gated(self) -> bool:
        """Whether the feed-forward network has a gate."""
        return self.feed_forward_proj.startswith("gated-")

    @property
    def activation(self) -> str:
        """By the names of `ACTIVATIONS`."""
        # The gated GELU of the published models is the one with tanh.
        known = {"gated-gelu": "gelu_new"}
        return known.get(self.feed_forward_proj, self.feed_forward_proj.removeprefix("gated-"))

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        return self.num_decoder_layers or self.num_layers

    @classmethod
    def read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """tie_word_embeddings as it was published.

        transformers 5 writes true for every T5, and what the entry once said into
        scale_decoder_outputs.

        Raises:
          ValueError: a head of its own that is scaled.
        """
        scaled, tied = (raw.get(n) for n in ("scale_decoder_outputs", "tie_word_embeddings"))
        if scaled and tied is False:
            raise ValueError(
                "scale_decoder_outputs is True and tie_word_embeddings is False; allowed is that "
                "both are true or that the first is false"
            )
        return raw if scaled is None else {**raw, "tie_word_embeddings": scaled}

    def write(self) -> dict[str, Any]:
        """Both forms of the head, for old readers and new ones."""
        return {**super().write(), "scale_decoder_outputs": self.tie_word_embeddings}

    def deviation(self, name: str) -> float:
        """As transformers draws T5's weights."""
        inner = self.num_heads * self.d_kv
        sizes = {"shared": 1, "lm_head": 1, "o": inner, "wo": self.d_ff}
        sizes["q"] = self.d_model * self.d_kv
        module = name.split(".")[-2]
        return self.initializer_factor * sizes.get(module, self.d_model) ** -0.5

    def contradictions(self) -> list[str]:
        """Buckets that leave nothing to count, and a classifier without a token to read."""
        buckets, longest = self.relative_attention_num_buckets, self.relative_attention_max_distance
        problems = []
        if buckets < 4 or buckets % 2:
            problems.append(
                f"relative_attention_num_buckets is {buckets}; allowed are even numbers >= 4"
            )
        elif longest <= buckets // 2:
            problems.append(
                f"relative_attention_max_distance is {longest}; allowed are integers > "
                f"{buckets // 2}, half of the buckets"
            )
        if self.num_labels and not isinstance(self.eos_token_id, int):
            problems.append(
                f"eos_token_id is {self.eos_token_id!r}; a classifier reads the state of one token"
            )
        return problems
