"""config.json -> a frozen dataclass; what is missing, not allowed or not known fails in one line.

A configuration class lists its entries with `entry(rule)`. Entries of config.json that must have
one particular value for our network to be that network stand in `fixed` (absent is fine) and
`demanded` (absent is not; `written` has them as we write them). Parts that other networks have must
be switched off (`NEUTRAL`), what is known to change nothing is passed over (`HARMLESS`), and the
rest, which no published network reads, is named in one warning.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from finetune.models.parts.heads import NONE, POOLINGS
from finetune.models.parts.layers import ACTIVATIONS


class Rule(NamedTuple):
    """Whether a value is allowed, and the allowed range in words."""

    holds: Callable[[Any], bool]
    allowed: str


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(*values: Any) -> Rule:
    """Exactly these values; 0 is not False."""
    return Rule(
        lambda value: any(value is v or (type(value) is type(v) and value == v) for v in values),
        " or ".join(map(repr, values)),
    )


SIZE = Rule(lambda v: isinstance(v, int) and not isinstance(v, bool) and v > 0, "integers >= 1")
INTEGER = Rule(lambda v: isinstance(v, int) and not isinstance(v, bool), "integers")
COUNT = Rule(lambda v: INTEGER.holds(v) and v >= 0, "integers >= 0")
MAYBE_TOKEN = Rule(lambda v: v is None or COUNT.holds(v), "null or integers >= 0")
RATE = Rule(lambda v: _number(v) and 0 <= v < 1, "numbers in [0, 1)")
MAYBE_SIZE = Rule(lambda v: v is None or SIZE.holds(v), "null or integers >= 1")
MAYBE_RATE = Rule(lambda v: v is None or RATE.holds(v), "null or numbers in [0, 1)")
POSITIVE = Rule(lambda v: _number(v) and v > 0, "numbers > 0")
ACTIVATION = one_of(*ACTIVATIONS)
POOLING = one_of(*POOLINGS)
ANY_POOLING = one_of(*POOLINGS, NONE)


def _sizes(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(SIZE.holds(size) for size in value)


MAYBE_TOKENS = Rule(
    lambda v: MAYBE_TOKEN.holds(v) or (isinstance(v, tuple | list) and all(map(COUNT.holds, v))),
    "null, integers >= 0 or lists of them",
)
SIZES = Rule(_sizes, "lists of integers >= 1")
STAGES = Rule(
    lambda v: isinstance(v, tuple | list) and all(_sizes(s) and len(s) > 0 for s in v),
    "lists of lists of integers >= 1",
)


def entry(rule: Rule, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field with a rule; without a default it must be in config.json."""
    return dataclasses.field(default=default, metadata={"rule": rule})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What every architecture's configuration has; entries are named as in config.json.

    Attributes:
      num_labels: columns of the logits; 1 is a regression. 0, where an architecture allows it, is
        a language model.
      pooling: "cls" or "mean", of encoders of text also "none", a head on every token with logits
        (B, L, labels); see `finetune.models.parts.heads.pool`.

    Raises:
      ValueError: an entry outside its range, all of them in one line.
    """

    num_labels: int = entry(SIZE)
    pooling: str = entry(POOLING, "cls")

    model_type: ClassVar[str]
    architecture: ClassVar[str]
    fixed: ClassVar[dict[str, Rule]] = {}
    demanded: ClassVar[dict[str, Rule]] = {}
    written: ClassVar[dict[str, Any]] = {}
    harmless: ClassVar[frozenset[str]] = frozenset()
    divisible: ClassVar[tuple[str, str] | None] = None

    def __post_init__(self):
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in values.items():
            if isinstance(value, list):  # JSON has no tuples, and a configuration is hashable
                object.__setattr__(self, name, _frozen(value))
        _refuse(type(self), _broken(_rules(type(self)), values) or self.contradictions())

    @property
    def of_tokens(self) -> bool:
        """Whether the head reads every token, as one for spans of text does."""
        return self.pooling == NONE

    @classmethod
    def read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """config.json in one form, where published files have several; `write` is the reverse."""
        return raw

    def write(self) -> dict[str, Any]:
        """The entries of config.json; what is None is left out."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value is not None}

    def deviation(self, name: str) -> float | None:
        """Standard deviation of a new kernel or table; None for the uniform draw of torch."""
        del name
        return getattr(self, "initializer_range", None)

    def contradictions(self) -> list[str]:
        """What single entries cannot tell: entries that do not fit each other."""
        if self.divisible is None:
            return []
        size, heads = (getattr(self, name) for name in self.divisible)
        text = f"{self.divisible[0]} is {size}; allowed are multiples of the {heads} heads"
        return [text] if size % heads else []


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, tuple | list) else value


def parse(kind: type[Config], raw: dict[str, Any], **chosen: Any) -> Config:
    """A configuration of `kind` from the entries of config.json, overridden by `chosen`.

    Entries that no network reads, as other programs leave them, are named in a warning of the log.

    Raises:
      ValueError: everything that is missing or not allowed, in one line.

    Example:
      >>> from finetune.models.mlp import MLPConfig
      >>> parse(MLPConfig, {"model_type": "mlp", "input_size": 64}, num_labels=10).hidden_size
      512
    """
    rules, raw = _rules(kind), kind.read(raw)
    values = {name: value for name, value in raw.items() if name in rules} | chosen
    needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    absent = [name for name in (*needed, *kind.demanded) if name not in {**raw, **chosen}]
    known = {*rules, *kind.fixed, *kind.demanded, *kind.harmless, *HARMLESS, *NEUTRAL}
    problems = [f"{name} is missing" for name in absent]
    problems += _broken({**NEUTRAL, **rules, **kind.fixed, **kind.demanded}, {**raw, **chosen})
    unknown = sorted(set(raw) - known)
    _refuse(kind, problems)
    if unknown:
        _warn_once(f"config.json of a {kind.model_type} model: not read: {', '.join(unknown)}")
    return kind(**values)


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def _rules(kind: type[Config]) -> dict[str, Rule]:
    return {field.name: field.metadata["rule"] for field in dataclasses.fields(kind)}


def _broken(rules: dict[str, Rule], values: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {values[name]!r}; allowed: {rule.allowed}"
        for name, rule in rules.items()
        if name in values and not rule.holds(values[name])
    ]


def _refuse(kind: type[Config], problems: list[str]) -> None:
    if problems:
        raise ValueError(f"configuration of a {kind.model_type} model: " + "; ".join(problems))


FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = Rule(
    lambda v: v is None or (isinstance(v, tuple | list) and set(v) <= {FULL, SLIDING}),
    f"null or lists of {FULL} and {SLIDING}",
)
OFF = Rule(lambda v: v is None or v is False or v in ([], {}, ()), "null or false")
ONE = Rule(lambda v: v is None or (_number(v) and v == 1), "null or 1")
ALL_FULL = Rule(lambda v: KINDS.holds(v) and set(v or ()) <= {FULL}, f"{FULL} in every layer")

# Entries that any model may carry and that must be neutral where it does not say otherwise: parts
# of other networks under the names of their configurations in transformers.
NEUTRAL = {
    "chunk_size_feed_forward": Rule(lambda v: isinstance(v, int), "integers"),
    "layer_types": ALL_FULL,
    "rope_type": one_of(None, "default"),
    **dict.fromkeys(
        (
            *("embedding_multiplier", "logits_scaling", "partial_rotary_factor"),
            *("residual_multiplier", "rotary_pct", "scale_depth", "scale_emb", "logit_scale"),
        ),
        ONE,
    ),
    **dict.fromkeys(
        (
            *("add_cross_attention", "is_decoder", "is_encoder_decoder", "pruned_heads"),
            *("quantization_config", "alibi", "attention_chunk_size", "attention_head_size"),
            *("attention_multiplier", "attn_logit_softcapping", "final_logit_softcapping"),
            *("clip_qkv", "kv_lora_rank", "q_lora_rank", "mlp_only_layers", "multi_query"),
            *("new_decoder_architecture", "no_rope_layers", "num_experts", "num_local_experts"),
            *("n_routed_experts", "parallel_attn", "qk_layernorm", "qk_norm", "use_qk_norm"),
            *("query_pre_attn_scalar", "relative_attention", "rope_interleaved", "rotary_base"),
            *("rotary_emb_base", "rotary_emb_fraction", "rotary_interleaved", "sliding_window"),
            *("use_bidirectional_attention", "use_parallel_residual", "use_sliding_window"),
        ),
        OFF,
    ),
}

# Entries that do not change the forward pass: names and numbers for the vocabulary, for saving, for
# generation and for the head of another task (the number of labels is an argument of the loader).
# fmt: off
HARMLESS = frozenset([
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
    "_num_labels", "architectures", "attn_implementation", "bos_token_id",
    "cross_attention_hidden_size", "decoder_start_token_id", "do_sample", "dtype",
    "early_stopping", "eos_token_id", "finetuning_task", "forced_eos_token_id",
    "gradient_checkpointing", "id2label", "label2id", "language", "length_penalty",
    "max_length", "min_length", "model_type", "no_repeat_ngram_size", "num_beams", "num_labels",
    "num_return_sequences", "output_attentions", "output_hidden_states", "output_past",
    "pad_token_id", "prefix", "problem_type", "repetition_penalty", "return_dict",
    "sbert_ce_default_activation_function", "sentence_transformers", "sep_token_id",
    "summary_type", "task_specific_params", "temperature", "tie_encoder_decoder",
    "tie_weights_", "tie_word_embeddings", "tokenizer_class", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers_version", "use_bfloat16", "use_cache",
])
# fmt: on
