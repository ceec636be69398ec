"""config.json of ModernBERT, with both published forms of its layers and rotary frequencies."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from finetune.models.config import (
    ACTIVATION,
    ANY_POOLING,
    FULL,
    KINDS,
    MAYBE_TOKEN,
    OFF,
    POSITIVE,
    RATE,
    SIZE,
    SLIDING,
    Config,
    entry,
    one_of,
)
from finetune.models.parts import rotary
from finetune.models.parts.rotary import Rope

SWITCH = one_of(False, True)
THETAS = {FULL: "global_rope_theta", SLIDING: "local_rope_theta"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModernBertConfig(Config):
    """The entries of a ModernBERT's config.json.

    local_attention: tokens of a window, half of them on either side; global_attn_every_n_layers:
    every so many layers, from the first on, read all tokens, where layer_types does not say which.
    """

    vocab_size: int = entry(SIZE)
    hidden_size: int = entry(SIZE)
    intermediate_size: int = entry(SIZE)
    num_hidden_layers: int = entry(SIZE)
    num_attention_heads: int = entry(SIZE)
    hidden_activation: str = entry(ACTIVATION, "gelu")
    classifier_activation: str = entry(ACTIVATION, "gelu")
    max_position_embeddings: int = entry(SIZE, 8192)
    norm_eps: float = entry(POSITIVE, 1e-5)
    norm_bias: bool = entry(SWITCH, False)
    attention_bias: bool = entry(SWITCH, False)
    mlp_bias: bool = entry(SWITCH, False)
    classifier_bias: bool = entry(SWITCH, False)
    local_attention: int = entry(SIZE, 128)
    global_attn_every_n_layers: int = entry(SIZE, 3)
    layer_types: tuple[str, ...] | None = entry(KINDS, None)
    global_rope_theta: float = entry(POSITIVE, 160000.0)
    local_rope_theta: float = entry(POSITIVE, 10000.0)
    attention_dropout: float = entry(RATE, 0.0)
    embedding_dropout: float = entry(RATE, 0.0)
    mlp_dropout: float = entry(RATE, 0.0)
    classifier_dropout: float = entry(RATE, 0.0)
    pooling: str = entry(ANY_POOLING, "cls")
    initializer_range: float = entry(POSITIVE, 0.02)
    pad_token_id: int | None = entry(MAYBE_TOKEN, None)

    model_type: ClassVar[str] = "modernbert"
    architecture: ClassVar[str] = "ModernBertForSequenceClassification"
    divisible: ClassVar[tuple[str, str]] = ("hidden_size", "num_attention_heads")
    fixed: ClassVar[dict] = {"rope_scaling": OFF}
    # Of other heads and other programs, and what `read` puts under another name.
    harmless: ClassVar[frozenset] = frozenset(
        [
            *("classifier_pooling", "cls_token_id", "decoder_bias", "deterministic_flash_attn"),
            *("initializer_cutoff_factor", "layer_norm_eps", "position_embedding_type"),
            *("reference_compile", "repad_logits_with_grad", "rope_parameters"),
            *("sparse_pred_ignore_index", "sparse_prediction"),
        ]
    )

    @property
    def sliding(self) -> tuple[bool, ...]:
        """Whether a layer reads a window."""
        if self.layer_types is not None:
            return tuple(kind == SLIDING for kind in self.layer_types)
        return tuple(i % self.global_attn_every_n_layers > 0 for i in range(self.num_hidden_layers))

    def rope(self, sliding: bool) -> Rope:
        """The rotary frequencies of a layer."""
        return Rope(rope_theta=self.local_rope_theta if sliding else self.global_rope_theta)

    @classmethod
    def read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """One theta for each kind of layer, and the pooling under its name here."""
        thetas = {name: raw[name] for name in THETAS.values() if raw.get(name) is not None}
        if raw.get("local_rope_theta", 0) is None:  # the first files: the other one
            thetas["local_rope_theta"] = thetas.get("global_rope_theta", cls.global_rope_theta)
        for kind, part in (raw.get("rope_parameters") or {}).items():
            rope = rotary.read({"rope_parameters": part})
            if kind not in THETAS or rope.rope_type != "default":
                raise ValueError(
                    f"rope_parameters has {kind!r} of type {rope.rope_type!r}; "
                    f"allowed are {FULL} and {SLIDING} of type 'default'"
                )
            thetas[THETAS[kind]] = rope.rope_theta
        return {"pooling": raw.get("classifier_pooling", "cls"), **raw, **thetas}

    def write(self) -> dict[str, Any]:
        """Both forms of layers and frequencies, for old readers and new ones."""
        kinds = [SLIDING if sliding else FULL for sliding in self.sliding]
        ropes = {kind: self.rope(kind == SLIDING).given() for kind in (FULL, SLIDING)}
        entries = {**super().write(), "layer_types": kinds, "rope_parameters": ropes}
        # Left out it would be a row of the published vocabulary, which this one may lack.
        entries["pad_token_id"] = self.pad_token_id
        return {**entries, "classifier_pooling": "cls" if self.of_tokens else self.pooling}

    def contradictions(self) -> list[str]:
        """Heads that cannot be dealt out or turned, layers that have no kind."""
        problems, layers = super().contradictions(), self.num_hidden_layers
        if not problems and self.hidden_size // self.num_attention_heads % 2:
            problems.append(
                f"hidden_size is {self.hidden_size}; allowed are even multiples of the heads"
            )
        if len(self.sliding) != layers:
            problems.append(f"layer_types has {len(self.sliding)} entries; allowed are {layers}")
        return problems
