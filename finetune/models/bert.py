"""BERT (and MiniLM, which is a small BERT): absolute positions, post-norm, dot-product attention.

RoBERTa is the same encoder with another count of positions; see `finetune.models.roberta`.

Source: Devlin et al. (2019), BERT; Wang et al. (2020), MiniLM; transformers.models.bert.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import (
    ACTIVATION,
    ANY_POOLING,
    MAYBE_RATE,
    POSITIVE,
    RATE,
    SIZE,
    Config,
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
    positions,
    scores,
    split_heads,
)
from finetune.models.parts.ops import PLAIN, Ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(Config):
    """The entries of a BERT's config.json that shape its forward pass, under their names there."""

    vocab_size: int = entry(SIZE)
    hidden_size: int = entry(SIZE)
    num_hidden_layers: int = entry(SIZE)
    num_attention_heads: int = entry(SIZE)
    intermediate_size: int = entry(SIZE)
    hidden_act: str = entry(ACTIVATION)
    max_position_embeddings: int = entry(SIZE)
    type_vocab_size: int = entry(SIZE)
    layer_norm_eps: float = entry(POSITIVE, 1e-12)
    hidden_dropout_prob: float = entry(RATE, 0.1)
    attention_probs_dropout_prob: float = entry(RATE, 0.1)
    classifier_dropout: float | None = entry(MAYBE_RATE, None)
    pooling: str = entry(ANY_POOLING, "cls")
    initializer_range: float = entry(POSITIVE, 0.02)

    model_type: ClassVar[str] = "bert"
    architecture: ClassVar[str] = "BertForSequenceClassification"
    pooled: ClassVar[bool] = True  # the encoder has a pooler of its own
    padding: ClassVar[int | None] = None  # the id whose position it is too, before those of tokens
    divisible: ClassVar[tuple[str, str]] = ("hidden_size", "num_attention_heads")
    fixed: ClassVar[dict] = {
        "position_embedding_type": one_of("absolute"),
        "pooler_type": one_of("first_token_transform"),
    }
    # Written into some published files and read by no implementation.
    harmless: ClassVar[frozenset] = frozenset(
        [
            "directionality",
            "pooler_fc_size",
            "pooler_num_attention_heads",
            "pooler_num_fc_layers",
            "pooler_size_per_head",
        ]
    )

    @property
    def positions(self) -> int:
        """Tokens of the longest text: rows of the table of positions that are for tokens."""
        unused = 0 if self.padding is None else self.padding + 1
        return self.max_position_embeddings - unused

    @property
    def head_dropout(self) -> float:
        """Before the classifier."""
        given = self.classifier_dropout
        return self.hidden_dropout_prob if given is None else given


class SelfAttention(nnx.Module):
    """softmax(Q K^T / sqrt(K)) V."""

    def __init__(self, path: str, config: BertConfig):
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob
        self.query = Linear(f"{path}.query", size, size)
        self.key = Linear(f"{path}.key", size, size)
        self.value = Linear(f"{path}.value", size, size)

    def __call__(self, x_BLD: jax.Array, mask_BL: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        query_BLHK = split_heads(self.query(x_BLD, ops), self.heads)
        key_BLHK = split_heads(self.key(x_BLD, ops), self.heads)
        value_BLHK = split_heads(self.value(x_BLD, ops), self.heads)
        scores_BHLM = scores("blhk,bmhk->bhlm", query_BLHK, key_BLHK)
        scores_BHLM = scores_BHLM * query_BLHK.shape[-1] ** -0.5
        return attend(scores_BHLM, value_BLHK, mask_BL, self.rate, key)


class Embeddings(nnx.Module):
    """LayerNorm(word + position + token type)."""

    def __init__(self, path: str, config: BertConfig, dtype):
        size = config.hidden_size
        self.rate = config.hidden_dropout_prob
        self.longest, self.padding = config.positions, config.padding
        rows = config.max_position_embeddings
        self.word_embeddings = Embedding(f"{path}.word_embeddings", config.vocab_size, size)
        self.position_embeddings = Embedding(f"{path}.position_embeddings", rows, size)
        self.token_type_embeddings = Embedding(
            f"{path}.token_type_embeddings", config.type_vocab_size, size
        )
        self.LayerNorm = LayerNorm(size, config.layer_norm_eps, dtype)

    def __call__(self, inputs: Inputs, ops: Ops, key) -> jax.Array:
        """(B, L) -> (B, L, D)."""
        ids, types = inputs.input_ids, inputs.token_type_ids
        types = jnp.zeros_like(ids) if types is None else types
        x = self.word_embeddings(ids, ops) + self.token_type_embeddings(types, ops)
        places = positions(ids.shape[1], self.longest)
        if self.padding is not None:
            token = ids != self.padding
            places = self.padding + jnp.cumsum(token, axis=1) * token
        x = x + self.position_embeddings(places, ops)
        return dropout(self.LayerNorm(x), self.rate, key)


class Encoder(nnx.Module):
    """The layers, one after the other."""

    def __init__(self, path: str, config: BertConfig, dtype):
        self.layer = nnx.List(
            Layer(f"{path}.layer.{i}", SelfAttention, config, dtype)
            for i in range(config.num_hidden_layers)
        )


class BertModel(nnx.Module):
    """Embeddings, encoder, and the pooler where the first token is pooled."""

    def __init__(self, path: str, config: BertConfig, dtype):
        self.embeddings = Embeddings(f"{path}.embeddings", config, dtype)
        self.encoder = Encoder(f"{path}.encoder", config, dtype)
        if config.pooled and config.pooling == "cls":
            self.pooler = Pooler(f"{path}.pooler", config.hidden_size, "tanh")


class Bert(nnx.Module):
    """classifier(tanh(W_p x_cls + b_p)), or with pooling="mean" classifier(mean of the tokens).

    The mean bypasses the pooler, which was trained on the first token only. With pooling="none"
    it is qa_outputs of every token.

    Source: transformers.models.bert, BertForSequenceClassification and BertForQuestionAnswering.
    """

    Config: ClassVar[type] = BertConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = "bert"
    deep: ClassVar[tuple[str, ...]] = ("bert.encoder.layer",)
    trainable_heads: ClassVar[tuple[str, ...]] = ("classifier",)
    optional: ClassVar[tuple[str, ...]] = ("bert.pooler", "classifier", "qa_outputs")
    ignored: ClassVar[tuple[str, ...]] = (
        r"bert\.embeddings\.position_ids",
        r"cls\..*",
    )

    def __init__(self, config: BertConfig, dtype=jnp.float32):
        self.config = config
        self.remat, self.scan = False, 0
        self.bert = BertModel("bert", config, dtype)
        if config.of_tokens:
            self.qa_outputs = Linear("qa_outputs", config.hidden_size, config.num_labels)
            self.trainable_heads = ("qa_outputs",)
        else:
            self.classifier = Linear("classifier", config.hidden_size, config.num_labels)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of `Inputs` (or a mapping like it); dropout only where a key is given.

        Raises:
          ValueError: sequences longer than max_position_embeddings.
        """
        inputs = tokens(inputs)
        config = self.config
        first, middle, last = fork(key, 3)
        x_BLD = self.bert.embeddings(inputs, ops, first)
        mask_BL = inputs.attention_mask
        layers, how = self.bert.encoder.layer, (self.remat, self.scan)
        states = stack(layers, x_BLD, mask_BL, ops, middle, *how)
        pooled_BD = pool(states[-1], mask_BL, config.pooling)
        if config.of_tokens:
            return Output(self.qa_outputs(pooled_BD, ops), states)
        if config.pooling == "cls":
            pooled_BD = self.bert.pooler(pooled_BD, ops)
        pooled_BD = dropout(pooled_BD, config.head_dropout, last)
        return Output(self.classifier(pooled_BD, ops), states)
