"""config.json of Llama, Mistral and Qwen, with both published forms of the rotary frequencies."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from finetune.models.config import (
    ACTIVATION,
    COUNT,
    FULL,
    KINDS,
    MAYBE_SIZE,
    MAYBE_TOKEN,
    MAYBE_TOKENS,
    POSITIVE,
    RATE,
    SIZE,
    SLIDING,
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

    # Options of the network, and entries whose default in transformers is not the one here.
    family: ClassVar[str] = "Llama"
    query_key_value_bias: ClassVar[bool] = False
    query_key_norm: ClassVar[bool] = False
    usual: ClassVar[dict[str, Any]] = {}

    @property
    def architecture(self) -> str:
        """The class of transformers."""
        return f"{self.family}For{'SequenceClassification' if self.num_labels else 'CausalLM'}"

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Of each layer, how many keys a token reads; None for all before it."""
        return (None,) * self.num_hidden_layers

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
        return {**cls.usual, **raw, "rope_parameters": rotary.read(raw)}

    def write(self) -> dict[str, Any]:
        """Both forms of the rotary frequencies, for old readers and new ones."""
        rope = self.rope_parameters.given()
        entries = {**super().write(), "rope_parameters": rope, "rope_theta": rope["rope_theta"]}
        # Left out they would be what transformers puts there, and it takes null for windows alone.
        numbers = {"num_key_value_heads": self.groups, "head_dim": self.size}
        entries |= {name: numbers.get(name, getattr(self, name)) for name in self.usual}
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class MistralConfig(LlamaConfig):
    """The entries of a Mistral's config.json; sliding_window null: every token reads all before."""

    sliding_window: int | None = entry(MAYBE_SIZE, None)

    model_type: ClassVar[str] = "mistral"
    family: ClassVar[str] = "Mistral"
    usual: ClassVar[dict[str, Any]] = {"num_key_value_heads": 8, "sliding_window": 4096}

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The same for all layers."""
        return (self.sliding_window,) * self.num_hidden_layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen2Config(LlamaConfig):
    """The entries of a Qwen2's config.json.

    With use_sliding_window the layers from max_window_layers on, or those that layer_types calls
    sliding_attention, read windows of sliding_window keys.
    """

    use_sliding_window: bool = entry(one_of(False, True), False)
    sliding_window: int | None = entry(MAYBE_SIZE, None)
    max_window_layers: int = entry(COUNT, 28)
    layer_types: tuple[str, ...] | None = entry(KINDS, None)

    model_type: ClassVar[str] = "qwen2"
    family: ClassVar[str] = "Qwen2"
    query_key_value_bias: ClassVar[bool] = True
    usual: ClassVar[dict[str, Any]] = {"num_key_value_heads": 32, "sliding_window": 4096}

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Of each layer, how many keys a token reads; None for all before it."""
        if not self.use_sliding_window:
            return super().windows
        layers = range(self.num_hidden_layers)
        kinds = self.layer_types or [
            FULL if i < self.max_window_layers else SLIDING for i in layers
        ]
        return tuple(self.sliding_window if kind == SLIDING else None for kind in kinds)

    def contradictions(self) -> list[str]:
        """Heads that cannot be dealt out, layers that have no kind."""
        problems, kinds = super().contradictions(), self.layer_types
        if kinds is not None and len(kinds) != self.num_hidden_layers:
            problems.append(
                f"layer_types has {len(kinds)} entries; "
                f"allowed are {self.num_hidden_layers}, one for each layer"
            )
        if SLIDING in (kinds or ()) and not (self.use_sliding_window and self.sliding_window):
            problems.append(
                f"layer_types has {SLIDING}; allowed with use_sliding_window and a sliding_window"
            )
        return problems


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3Config(Qwen2Config):
    """The entries of a Qwen3's config.json, which are those of a Qwen2 and head_dim."""

    model_type: ClassVar[str] = "qwen3"
    family: ClassVar[str] = "Qwen3"
    query_key_value_bias: ClassVar[bool] = False
    query_key_norm: ClassVar[bool] = True
    usual: ClassVar[dict[str, Any]] = {**Qwen2Config.usual, "head_dim": 128}
