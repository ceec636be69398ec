"""DistilBERT: BERT without token types and pooler, with a two-layer head of its own.

Source: Sanh et al. (2019), DistilBERT; transformers.models.distilbert.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import ACTIVATION, ANY_POOLING, POSITIVE, RATE, SIZE, Config, entry
from finetune.models.interface import Output, tokens
from finetune.models.parts.blocks import stack
from finetune.models.parts.heads import pool
from finetune.models.parts.layers import (
    ACTIVATIONS,
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

# A constant of the architecture; its config.json has no entry for it.
EPS = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilBertConfig(Config):
    """The entries of a DistilBERT's config.json that shape its forward pass."""

    vocab_size: int = entry(SIZE)
    dim: int = entry(SIZE)
    n_layers: int = entry(SIZE)
    n_heads: int = entry(SIZE)
    hidden_dim: int = entry(SIZE)
    activation: str = entry(ACTIVATION)
    max_position_embeddings: int = entry(SIZE)
    dropout: float = entry(RATE, 0.1)
    attention_dropout: float = entry(RATE, 0.1)
    seq_classif_dropout: float = entry(RATE, 0.2)
    qa_dropout: float = entry(RATE, 0.1)
    pooling: str = entry(ANY_POOLING, "cls")
    initializer_range: float = entry(POSITIVE, 0.02)

    model_type: ClassVar[str] = "distilbert"
    architecture: ClassVar[str] = "DistilBertForSequenceClassification"
    divisible: ClassVar[tuple[str, str]] = ("dim", "n_heads")
    # Sinusoids are only how the position table was initialised; it lies in the checkpoint.
    harmless: ClassVar[frozenset] = frozenset(["sinusoidal_pos_embds"])

    @property
    def positions(self) -> int:
        """Tokens of the longest text: rows of the table of positions."""
        return self.max_position_embeddings


class SelfAttention(nnx.Module):
    """W_o softmax(Q K^T / sqrt(K)) V."""

    def __init__(self, path: str, config: DistilBertConfig):
        self.heads = config.n_heads
        self.rate = config.attention_dropout
        self.q_lin = Linear(f"{path}.q_lin", config.dim, config.dim)
        self.k_lin = Linear(f"{path}.k_lin", config.dim, config.dim)
        self.v_lin = Linear(f"{path}.v_lin", config.dim, config.dim)
        self.out_lin = Linear(f"{path}.out_lin", config.dim, config.dim)

    def __call__(self, x_BLD: jax.Array, mask_BL: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        query_BLHK = split_heads(self.q_lin(x_BLD, ops), self.heads)
        key_BLHK = split_heads(self.k_lin(x_BLD, ops), self.heads)
        value_BLHK = split_heads(self.v_lin(x_BLD, ops), self.heads)
        scores_BHLM = scores("blhk,bmhk->bhlm", query_BLHK, key_BLHK)
        scores_BHLM = scores_BHLM * query_BLHK.shape[-1] ** -0.5
        return self.out_lin(attend(scores_BHLM, value_BLHK, mask_BL, self.rate, key), ops)


class FeedForward(nnx.Module):
    """dropout(W_2 act(W_1 x))."""

    def __init__(self, path: str, config: DistilBertConfig):
        self.activation = config.activation
        self.rate = config.dropout
        self.lin1 = Linear(f"{path}.lin1", config.dim, config.hidden_dim)
        self.lin2 = Linear(f"{path}.lin2", config.hidden_dim, config.dim)

    def __call__(self, x: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        wide = ACTIVATIONS[self.activation](self.lin1(x, ops))
        return dropout(self.lin2(wide, ops), self.rate, key)


class Block(nnx.Module):
    """x <- LayerNorm(x + attention(x)), x <- LayerNorm(x + feed-forward(x))."""

    def __init__(self, path: str, config: DistilBertConfig, dtype):
        self.attention = SelfAttention(f"{path}.attention", config)
        self.sa_layer_norm = LayerNorm(config.dim, EPS, dtype)
        self.ffn = FeedForward(f"{path}.ffn", config)
        self.output_layer_norm = LayerNorm(config.dim, EPS, dtype)

    def __call__(self, x: jax.Array, mask_BL: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        inner, outer = fork(key, 2)
        x = self.sa_layer_norm(self.attention(x, mask_BL, ops, inner) + x)
        return self.output_layer_norm(self.ffn(x, ops, outer) + x)


class Embeddings(nnx.Module):
    """LayerNorm(word + position)."""

    def __init__(self, path: str, config: DistilBertConfig, dtype):
        self.rate = config.dropout
        self.longest = config.max_position_embeddings
        self.word_embeddings = Embedding(f"{path}.word_embeddings", config.vocab_size, config.dim)
        self.position_embeddings = Embedding(
            f"{path}.position_embeddings", self.longest, config.dim
        )
        self.LayerNorm = LayerNorm(config.dim, EPS, dtype)

    def __call__(self, ids_BL: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L) -> (B, L, D)."""
        x = self.word_embeddings(ids_BL, ops)
        x = x + self.position_embeddings(positions(ids_BL.shape[1], self.longest), ops)
        return dropout(self.LayerNorm(x), self.rate, key)


class Transformer(nnx.Module):
    """The blocks, one after the other."""

    def __init__(self, path: str, config: DistilBertConfig, dtype):
        self.layer = nnx.List(
            Block(f"{path}.layer.{i}", config, dtype) for i in range(config.n_layers)
        )


class DistilBertModel(nnx.Module):
    """Embeddings and transformer."""

    def __init__(self, path: str, config: DistilBertConfig, dtype):
        self.embeddings = Embeddings(f"{path}.embeddings", config, dtype)
        self.transformer = Transformer(f"{path}.transformer", config, dtype)


class DistilBert(nnx.Module):
    """classifier(relu(W_p x + b_p)) with x the first token or the mean of the tokens.

    With pooling="none" it is qa_outputs of every token.

    Source: transformers.models.distilbert, DistilBertForSequenceClassification and
    DistilBertForQuestionAnswering.
    """

    Config: ClassVar[type] = DistilBertConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = "distilbert"
    deep: ClassVar[tuple[str, ...]] = ("distilbert.transformer.layer",)
    trainable_heads: ClassVar[tuple[str, ...]] = ("pre_classifier", "classifier")
    optional: ClassVar[tuple[str, ...]] = ("pre_classifier", "classifier", "qa_outputs")
    ignored: ClassVar[tuple[str, ...]] = (
        r"distilbert\.embeddings\.position_ids",
        r"vocab_(transform|layer_norm|projector)\..*",
    )

    def __init__(self, config: DistilBertConfig, dtype=jnp.float32):
        self.config = config
        self.remat, self.scan = False, 0
        self.distilbert = DistilBertModel("distilbert", config, dtype)
        if config.of_tokens:
            self.qa_outputs = Linear("qa_outputs", config.dim, config.num_labels)
            self.trainable_heads = ("qa_outputs",)
        else:
            self.pre_classifier = Linear("pre_classifier", config.dim, config.dim)
            self.classifier = Linear("classifier", config.dim, config.num_labels)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of `Inputs` (or a mapping like it); dropout only where a key is given.

        Raises:
          ValueError: sequences longer than max_position_embeddings.
        """
        inputs = tokens(inputs)
        config = self.config
        first, middle, last = fork(key, 3)
        x_BLD = self.distilbert.embeddings(inputs.input_ids, ops, first)
        mask_BL = inputs.attention_mask
        layers, how = self.distilbert.transformer.layer, (self.remat, self.scan)
        states = stack(layers, x_BLD, mask_BL, ops, middle, *how)
        pooled_BD = pool(states[-1], mask_BL, config.pooling)
        if config.of_tokens:
            return Output(self.qa_outputs(dropout(pooled_BD, config.qa_dropout, last), ops), states)
        pooled_BD = jax.nn.relu(self.pre_classifier(pooled_BD, ops))
        pooled_BD = dropout(pooled_BD, config.seq_classif_dropout, last)
        return Output(self.classifier(pooled_BD, ops), states)
