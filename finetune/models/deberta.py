"""DeBERTa-v3: self-attention that sees content and relative position apart (disentangled).

score(i, j) = (q_i . k_j + q_i . k'_{i-j} + k_j . q'_{i-j}) / sqrt(3 K), where k' and q' are the
projections of one shared table of relative positions by the layer's own key and query kernels.

Source: He et al. (2021, 2023), DeBERTa and DeBERTaV3; transformers.models.deberta_v2. The other
settings of that architecture (absolute positions, separate position kernels, the convolution of
v2) are refused by the configuration.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from finetune.models.config import (
    ACTIVATION,
    ANY_POOLING,
    INTEGER,
    MAYBE_RATE,
    MAYBE_SIZE,
    POSITIVE,
    RATE,
    SIZE,
    Config,
    Rule,
    entry,
    one_of,
)
from finetune.models.interface import Inputs, Output, tokens
from finetune.models.parts.blocks import Layer, stack
from finetune.models.parts.heads import Pooler, pool
from finetune.models.parts.layers import (
    Embedding,
    LayerNorm,
    Linear,
    attend,
    dropout,
    fork,
    scores,
    split_heads,
)
from finetune.models.parts.ops import PLAIN, Ops
from finetune.models.parts.relative import align, rows_by_distance


def _both_terms(value) -> bool:
    words = value.lower().split("|") if isinstance(value, str) else value
    return isinstance(words, list) and {str(word).strip() for word in words} == {"c2p", "p2c"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DebertaV2Config(Config):
    """The entries of a DeBERTa-v3's config.json (model_type deberta-v2) that shape its forward."""

    vocab_size: int = entry(SIZE)
    hidden_size: int = entry(SIZE)
    num_hidden_layers: int = entry(SIZE)
    num_attention_heads: int = entry(SIZE)
    intermediate_size: int = entry(SIZE)
    hidden_act: str = entry(ACTIVATION)
    max_position_embeddings: int = entry(SIZE)
    position_buckets: int = entry(Rule(lambda v: type(v) is int and v >= 4, "integers >= 4"))
    max_relative_positions: int = entry(INTEGER, -1)
    layer_norm_eps: float = entry(POSITIVE, 1e-7)
    hidden_dropout_prob: float = entry(RATE, 0.1)
    attention_probs_dropout_prob: float = entry(RATE, 0.1)
    pooler_dropout: float = entry(RATE, 0.0)
    pooler_hidden_act: str = entry(ACTIVATION, "gelu")
    pooler_hidden_size: int | None = entry(MAYBE_SIZE, None)
    cls_dropout: float | None = entry(MAYBE_RATE, None)
    pooling: str = entry(ANY_POOLING, "cls")
    initializer_range: float = entry(POSITIVE, 0.02)

    model_type: ClassVar[str] = "deberta-v2"
    architecture: ClassVar[str] = "DebertaV2ForSequenceClassification"
    divisible: ClassVar[tuple[str, str]] = ("hidden_size", "num_attention_heads")
    # Absent means something else than v3 for these: transformers' defaults are those of v2.
    written: ClassVar[dict] = {
        "relative_attention": True,
        "position_biased_input": False,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": "p2c|c2p",
    }
    demanded: ClassVar[dict] = {
        **{name: one_of(value) for name, value in written.items()},
        "pos_att_type": Rule(_both_terms, "'p2c|c2p'"),
    }
    fixed: ClassVar[dict] = {"type_vocab_size": one_of(0), "conv_kernel_size": one_of(0)}
    # Chooses between two heads for masked language.
    harmless: ClassVar[frozenset] = frozenset(["legacy"])

    @property
    def longest(self) -> int:
        """The greatest relative distance told apart."""
        given = self.max_relative_positions
        return given if given >= 1 else self.max_position_embeddings

    def contradictions(self) -> list[str]:
        """Also a pooler of another width, and a log scale that would end before it begins."""
        texts = super().contradictions()
        if self.pooler_hidden_size not in (None, self.hidden_size):
            texts.append(
                f"pooler_hidden_size is {self.pooler_hidden_size}; allowed: {self.hidden_size}"
            )
        if self.longest - 1 <= self.position_buckets // 2:
            texts.append(
                f"position_buckets is {self.position_buckets}; allowed are integers < "
                f"{2 * (self.longest - 1)} for distances up to {self.longest}"
            )
        return texts


class Context(NamedTuple):
    """What a layer reads beside x: the mask and the relative positions of this length.

    Attributes:
      mask: (B, L).
      rows: (U, D) rows of the position table, normalised, in the compute dtype.
      place: (2 L - 1,) numpy, the row of each distance -(L - 1), ..., L - 1.
    """

    mask: jax.Array
    rows: jax.Array
    place: np.ndarray


class DisentangledSelfAttention(nnx.Module):
    """Content-to-content, content-to-position and position-to-content scores, one softmax."""

    def __init__(self, path: str, config: DebertaV2Config):
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob
        self.position_rate = config.hidden_dropout_prob
        self.query_proj = Linear(f"{path}.query_proj", size, size)
        self.key_proj = Linear(f"{path}.key_proj", size, size)
        self.value_proj = Linear(f"{path}.value_proj", size, size)

    def __call__(self, x_BLD: jax.Array, context: Context, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        inner, outer = fork(key, 2)
        rows_UD = dropout(context.rows, self.position_rate, inner)

        def heads(layer, x, place=...):
            return split_heads(layer(x, ops)[place], self.heads)

        query_BLHK = heads(self.query_proj, x_BLD)
        key_BLHK = heads(self.key_proj, x_BLD)
        value_BLHK = heads(self.value_proj, x_BLD)
        # `align` reads columns by j - i from a row i, so c2p, a function of i - j, goes backwards;
        # p2c is aligned with the key as the row, then transposed.
        key_NHK = heads(self.key_proj, rows_UD, context.place[::-1])
        query_NHK = heads(self.query_proj, rows_UD, context.place)
        content_BHLM = scores("blhk,bmhk->bhlm", query_BLHK, key_BLHK)
        c2p_BHLM = align(scores("blhk,nhk->bhln", query_BLHK, key_NHK))
        p2c_BHML = align(scores("bmhk,nhk->bhmn", key_BLHK, query_NHK))
        scores_BHLM = content_BHLM + c2p_BHLM + p2c_BHML.mT
        scores_BHLM = scores_BHLM * (3 * query_BLHK.shape[-1]) ** -0.5
        return attend(scores_BHLM, value_BLHK, context.mask, self.rate, outer)


class Embeddings(nnx.Module):
    """LayerNorm(word), zero at padding; positions enter in the attention only."""

    def __init__(self, path: str, config: DebertaV2Config, dtype):
        size = config.hidden_size
        self.rate = config.hidden_dropout_prob
        self.word_embeddings = Embedding(f"{path}.word_embeddings", config.vocab_size, size)
        self.LayerNorm = LayerNorm(size, config.layer_norm_eps, dtype)

    def __call__(self, inputs: Inputs, ops: Ops, key) -> jax.Array:
        """(B, L) -> (B, L, D)."""
        x = self.LayerNorm(self.word_embeddings(inputs.input_ids, ops))
        return dropout(x * inputs.attention_mask[..., None].astype(x.dtype), self.rate, key)


class Encoder(nnx.Module):
    """The layers, and the table of relative positions that they share."""

    def __init__(self, path: str, config: DebertaV2Config, dtype):
        self.span = config.position_buckets
        self.longest = config.longest
        size = config.hidden_size
        self.rel_embeddings = Embedding(f"{path}.rel_embeddings", 2 * self.span, size)
        self.LayerNorm = LayerNorm(size, config.layer_norm_eps, dtype)
        self.layer = nnx.List(
            Layer(f"{path}.layer.{i}", DisentangledSelfAttention, config, dtype)
            for i in range(config.num_hidden_layers)
        )

    def __call__(self, x_BLD: jax.Array, mask_BL: jax.Array, ops: Ops, key, remat: bool, scan: int):
        """(B, L, D) -> the hidden states."""
        used, place = rows_by_distance(x_BLD.shape[1], self.span, self.longest)
        rows_UD = self.LayerNorm(self.rel_embeddings(jnp.asarray(used), ops))
        return stack(self.layer, x_BLD, Context(mask_BL, rows_UD, place), ops, key, remat, scan)


class DebertaV2Model(nnx.Module):
    """Embeddings and encoder."""

    def __init__(self, path: str, config: DebertaV2Config, dtype):
        self.embeddings = Embeddings(f"{path}.embeddings", config, dtype)
        self.encoder = Encoder(f"{path}.encoder", config, dtype)


class DebertaV2(nnx.Module):
    """classifier(gelu(W_p x + b_p)) with x the first token or the mean of the tokens.

    With pooling="none" it is qa_outputs of every token.

    Source: transformers.models.deberta_v2, DebertaV2ForSequenceClassification and
    DebertaV2ForQuestionAnswering.
    """

    Config: ClassVar[type] = DebertaV2Config
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = "deberta"
    deep: ClassVar[tuple[str, ...]] = ("deberta.encoder.layer",)
    trainable_heads: ClassVar[tuple[str, ...]] = ("pooler", "classifier")
    optional: ClassVar[tuple[str, ...]] = ("pooler", "classifier", "qa_outputs")
    ignored: ClassVar[tuple[str, ...]] = (
        r"deberta\.embeddings\.(position_ids|position_embeddings\.weight)",
        r"(cls|lm_predictions|mask_predictions)\..*",
    )

    def __init__(self, config: DebertaV2Config, dtype=jnp.float32):
        self.config = config
        self.remat, self.scan = False, 0
        self.deberta = DebertaV2Model("deberta", config, dtype)
        if config.of_tokens:
            self.qa_outputs = Linear("qa_outputs", config.hidden_size, config.num_labels)
            self.trainable_heads = ("qa_outputs",)
        else:
            self.pooler = Pooler("pooler", config.hidden_size, config.pooler_hidden_act)
            self.classifier = Linear("classifier", config.hidden_size, config.num_labels)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of `Inputs` (or a mapping like it); dropout only where a key is given.

        Sequences may be longer than max_position_embeddings: far distances share the last bucket.
        """
        inputs = tokens(inputs)
        config = self.config
        first, middle, before, after = fork(key, 4)
        x_BLD = self.deberta.embeddings(inputs, ops, first)
        how = self.remat, self.scan
        states = self.deberta.encoder(x_BLD, inputs.attention_mask, ops, middle, *how)
        pooled_BD = pool(states[-1], inputs.attention_mask, config.pooling)
        if config.of_tokens:
            return Output(self.qa_outputs(pooled_BD, ops), states)
        pooled_BD = self.pooler(dropout(pooled_BD, config.pooler_dropout, before), ops)
        rate = config.cls_dropout
        rate = config.hidden_dropout_prob if rate is None else rate
        return Output(self.classifier(dropout(pooled_BD, rate, after), ops), states)
