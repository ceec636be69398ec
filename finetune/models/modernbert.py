"""ModernBERT: pre-norm encoder, rotary positions, gated feed-forward, windows in most layers.

Source: Warner et al. (2024), ModernBERT; transformers.models.modernbert.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.interface import Output, tokens
from finetune.models.modernbert_config import ModernBertConfig
from finetune.models.parts import rotary
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
    grouped_scores,
    positions,
)
from finetune.models.parts.ops import PLAIN, Ops


class Masks(NamedTuple):
    """What layers read: all tokens (B, L), or those in a window around each (B, L, L)."""

    full_BL: jax.Array
    window_BLM: jax.Array


def masks(mask_BL: jax.Array, local_attention: int) -> Masks:
    """A window has local_attention // 2 tokens on either side."""
    places = jnp.arange(mask_BL.shape[1])
    near_LM = jnp.abs(places[:, None] - places) <= local_attention // 2
    return Masks(mask_BL, near_LM & mask_BL.astype(bool)[:, None])


def _norm(config: ModernBertConfig, dtype) -> LayerNorm:
    return LayerNorm(config.hidden_size, config.norm_eps, dtype, config.norm_bias)


class Embeddings(nnx.Module):
    """LayerNorm(word)."""

    def __init__(self, path: str, config: ModernBertConfig, dtype):
        self.rate = config.embedding_dropout
        self.tok_embeddings = Embedding(
            f"{path}.tok_embeddings", config.vocab_size, config.hidden_size
        )
        self.norm = _norm(config, dtype)

    def __call__(self, ids_BL: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L) -> (B, L, D)."""
        return dropout(self.norm(self.tok_embeddings(ids_BL, ops)), self.rate, key)


class Attention(nnx.Module):
    """W_o softmax(Q K^T / sqrt(K)) V with rotated Q and K, of one kernel with V."""

    def __init__(self, path: str, config: ModernBertConfig, sliding: bool):
        size, bias = config.hidden_size, config.attention_bias
        self.heads, self.sliding = config.num_attention_heads, sliding
        self.rope, self.rate = config.rope(sliding), config.attention_dropout
        self.Wqkv = Linear(f"{path}.Wqkv", size, 3 * size, bias)
        self.Wo = Linear(f"{path}.Wo", size, size, bias)

    def __call__(self, x_BLD: jax.Array, reads: Masks, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        inner, outer = fork(key, 2)
        size, length, _ = x_BLD.shape
        qkv = self.Wqkv(x_BLD, ops).reshape(size, length, 3, self.heads, -1)
        query_BLHK, key_BLHK, value_BLHK = jnp.moveaxis(qkv, 2, 0)
        places = jnp.arange(length)
        query_BLHK = rotary.rotate(query_BLHK, places, self.rope)
        key_BLHK = rotary.rotate(key_BLHK, places, self.rope)
        scores_BHLM = grouped_scores(query_BLHK, key_BLHK) * query_BLHK.shape[-1] ** -0.5
        mask = reads.window_BLM if self.sliding else reads.full_BL
        joined = attend(scores_BHLM, value_BLHK, mask, self.rate, inner)
        return dropout(self.Wo(joined, ops), self.rate, outer)


class FeedForward(nnx.Module):
    """W_o (act(u) * v) with (u, v) = W_i x."""

    def __init__(self, path: str, config: ModernBertConfig):
        size, middle, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.activation, self.rate = config.hidden_activation, config.mlp_dropout
        self.Wi = Linear(f"{path}.Wi", size, 2 * middle, bias)
        self.Wo = Linear(f"{path}.Wo", middle, size, bias)

    def __call__(self, x: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        first, gate = jnp.split(self.Wi(x, ops), 2, axis=-1)
        return self.Wo(dropout(ACTIVATIONS[self.activation](first) * gate, self.rate, key), ops)


class Layer(nnx.Module):
    """x <- x + attention(norm(x)), x <- x + feed-forward(norm(x)); the first has no first norm."""

    def __init__(self, path: str, config: ModernBertConfig, number: int, dtype):
        self.kind = config.sliding[number]
        self.attn_norm = _norm(config, dtype) if number else None
        self.attn = Attention(f"{path}.attn", config, config.sliding[number])
        self.mlp_norm = _norm(config, dtype)
        self.mlp = FeedForward(f"{path}.mlp", config)

    def __call__(self, x: jax.Array, reads: Masks, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        inner, outer = fork(key, 2)
        normed = x if self.attn_norm is None else self.attn_norm(x)
        x = x + self.attn(normed, reads, ops, inner)
        return x + self.mlp(self.mlp_norm(x), ops, outer)


class ModernBertModel(nnx.Module):
    """Embeddings, layers and the last norm."""

    def __init__(self, path: str, config: ModernBertConfig, dtype):
        self.embeddings = Embeddings(f"{path}.embeddings", config, dtype)
        self.layers = nnx.List(
            Layer(f"{path}.layers.{i}", config, i, dtype) for i in range(config.num_hidden_layers)
        )
        self.final_norm = _norm(config, dtype)


class PredictionHead(nnx.Module):
    """LayerNorm(act(W x))."""

    def __init__(self, path: str, config: ModernBertConfig, dtype):
        size = config.hidden_size
        self.activation = config.classifier_activation
        self.dense = Linear(f"{path}.dense", size, size, config.classifier_bias)
        self.norm = _norm(config, dtype)

    def __call__(self, x_BD: jax.Array, ops: Ops) -> jax.Array:
        """(B, D) -> (B, D)."""
        return self.norm(ACTIVATIONS[self.activation](self.dense(x_BD, ops)))


class ModernBert(nnx.Module):
    """classifier(head(x)) of the first token, of the tokens' mean, or of every token.

    Source: transformers.models.modernbert, ModernBertForSequenceClassification and
    ModernBertForQuestionAnswering.

    Example:
      >>> sizes = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8}
      >>> sizes |= {"num_attention_heads": 2, "num_hidden_layers": 2}
      >>> ids = jnp.ones((2, 4), jnp.int32)
      >>> config = ModernBertConfig(num_labels=3, **sizes)
      >>> inputs = {"input_ids": ids, "attention_mask": ids}
      >>> jax.eval_shape(lambda: ModernBert(config)(inputs)).logits.shape
      (2, 3)
    """

    Config: ClassVar[type] = ModernBertConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = "model"
    deep: ClassVar[tuple[str, ...]] = ("model.layers",)
    trainable_heads: ClassVar[tuple[str, ...]] = ("classifier",)
    optional: ClassVar[tuple[str, ...]] = ("head", "classifier")
    ignored: ClassVar[tuple[str, ...]] = (r"(model\.)?decoder\..*",)

    def __init__(self, config: ModernBertConfig, dtype=jnp.float32):
        self.config = config
        self.remat, self.scan = False, 0
        self.dtype = jnp.dtype(dtype)
        self.model = ModernBertModel("model", config, dtype)
        self.head = PredictionHead("head", config, jnp.float32)  # heads compute in float32
        self.classifier = Linear("classifier", config.hidden_size, config.num_labels)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of `Inputs` (or a mapping like it); dropout only where a key is given.

        Raises:
          ValueError: sequences longer than max_position_embeddings.
        """
        inputs, config = tokens(inputs), self.config
        first, middle, last = fork(key, 3)
        mask_BL = inputs.attention_mask
        positions(mask_BL.shape[1], config.max_position_embeddings)
        x_BLD = self.model.embeddings(inputs.input_ids, ops, first)
        reads = masks(mask_BL, config.local_attention)
        layers, how = self.model.layers, (self.remat, self.scan)
        *states, x_BLD = stack(layers, x_BLD, reads, ops, middle, *how)
        states = (*states, self.model.final_norm(x_BLD))
        x_BD = self.head(pool(states[-1], mask_BL, config.pooling), ops)
        return Output(self.classifier(dropout(x_BD, config.classifier_dropout, last), ops), states)
