"""config.json of Llama 2 and 3, with both published forms of the rotary frequencies."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from finetune.models.config import (
    ACTIVATION,
    COUNT,
    MAYBE_SIZE,
    MAYBE_TOKEN,
    MAYBE_TOKENS,
    POSITIVE,
    RATE,
    SIZE,
    Config,
    Rule,
    entry,
    one_of,
)
from finetune.models.parts import rotary
from finetune.models.parts.rotary import Rope

ROPE = Rope()
IS_ROPE = Rule(lambda value: isinstance(value, Rope), "a Rope")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig(Config):
    """The entries of a Llama's config.json; None is the default of transformers.

    num_key_value_heads None: as many as num_attention_heads. head_dim None: hidden_size divided by
    num_attention_heads.
    """

    num_labels: int = entry(COUNT)
    pooling: str = entry(one_of("cls"), "cls")  # there is no choice: the last token
    vocab_size: int = entry(SIZE)
    hidden_size: int = entry(SIZE)
    intermediate_size: int = entry(SIZE)
    num_hidden_layers: int = entry(SIZE)
    num_attention_heads: int = entry(SIZE)
    num_key_value_heads: int | None = entry(MAYBE_SIZE, None)
    head_dim: int | None = entry(MAYBE_SIZE, None)
    hidden_act: str = entry(ACTIVATION, "silu")
    max_position_embeddings: int = entry(SIZE, 2048)
    rms_norm_eps: float = entry(POSITIVE, 1e-6)
    rope_parameters: Rope = dataclasses.field(default=ROPE, metadata={"rule": IS_ROPE})
    tie_word_embeddings: bool = entry(one_of(False, True), False)
    attention_dropout: float = entry(RATE, 0.0)
    initializer_range: float = entry(POSITIVE, 0.02)
    bos_token_id: int | None = entry(MAYBE_TOKEN, None)
    eos_token_id: int | tuple[int, ...] | None = entry(MAYBE_TOKENS, None)
    pad_token_id: int | None = entry(MAYBE_TOKEN, None)

    model_type: ClassVar[str] = "llama"
    fixed: ClassVar[dict] = {"attention_bias": one_of(False), "mlp_bias": one_of(False)}
    # How products were split in pretraining, and what `read` puts into rope_parameters.
    harmless: ClassVar[frozenset] = frozenset(
        ["is_llama_config", "pretraining_tp", "rope_theta", "rope_scaling"]
    )

    @property
    def architecture(self) -> str:
        """The class of transformers."""
        return "LlamaForSequenceClassification" if self.num_labels else "LlamaForCausalLM"

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def size(self) -> int:
        """Features of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @classmethod
    def read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """rope_parameters in the one form that is used here."""
        return {**raw, "rope_parameters": rotary.read(raw)}

    def write(self) -> dict[str, Any]:
        """Both forms of the rotary frequencies, for old readers and new ones."""
        rope = self.rope_parameters.given()
        entries = {**super().write(), "rope_parameters": rope, "rope_theta": rope["rope_theta"]}
        if rope["rope_type"] != "default":
            entries["rope_scaling"] = {n: v for n, v in rope.items() if n != "rope_theta"}
        return entries

    def contradictions(self) -> list[str]:
        """Heads that cannot be dealt out."""
        heads, problems = self.num_attention_heads, []
        if self.head_dim is None and self.hidden_size % heads:
            problems = [
                f"hidden_size is {self.hidden_size}; allowed are multiples of the {heads} heads"
            ]
        elif self.size % 2:
            problems = [f"head_dim is {self.size}; allowed are even numbers"]
        if heads % self.groups:
            problems.append(
                f"num_key_value_heads is {self.groups}; allowed are divisors of {heads}"
            )
        return problems
