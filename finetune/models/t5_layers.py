"""The layers of T5: pre-norm, no biases, scores without 1/sqrt(K) but with a bias by distance.

The bias table lies in the first block of each stack and serves all of them. Attribute names are
torch's (`layer`, `SelfAttention`), because the parameter tree is the key table.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.parts import buckets
from finetune.models.parts.cache import KeyValue, causal, written
from finetune.models.parts.depth import through
from finetune.models.parts.layers import (
    ACTIVATIONS,
    Embedding,
    Linear,
    RMSNorm,
    dropout,
    fork,
    split_heads,
)
from finetune.models.parts.ops import Ops
from finetune.models.parts.relative import align
from finetune.models.t5_config import T5Config


class Where(NamedTuple):
    """What the tokens of a stack read.

    Attributes:
      mask: (B, M) or (B, L, M), of the own sequence.
      bias_HLM: added to the scores there.
      slot: where keys and values go in the cache; None without one.
      memory_mask_BM: of the encoder's sequence; None in the encoder.
    """

    mask: jax.Array
    bias_HLM: jax.Array
    slot: jax.Array | None = None
    memory_mask_BM: jax.Array | None = None


class Attention(nnx.Module):
    """W_o softmax(Q K^T + bias) V; keys and values come from anywhere."""

    def __init__(self, path: str, config: T5Config, with_bias: bool = False):
        size, inner = config.d_model, config.num_heads * config.d_kv
        self.heads = config.num_heads
        self.rate = config.dropout_rate
        self.q = Linear(f"{path}.q", size, inner, bias=False)
        self.k = Linear(f"{path}.k", size, inner, bias=False)
        self.v = Linear(f"{path}.v", size, inner, bias=False)
        self.o = Linear(f"{path}.o", inner, size, bias=False)
        if with_bias:
            self.relative_attention_bias = Embedding(
                f"{path}.relative_attention_bias",
                config.relative_attention_num_buckets,
                config.num_heads,
            )

    def remember(self, x_BMD: jax.Array, ops: Ops) -> KeyValue:
        """Keys and values of a sequence."""
        both = (split_heads(part(x_BMD, ops), self.heads) for part in (self.k, self.v))
        return KeyValue.of(*both)

    def __call__(self, x_BLD, seen: KeyValue, mask, bias_HLM, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        query_BLHK = split_heads(self.q(x_BLD, ops), self.heads)
        logits_BHLM = seen.scores(query_BLHK)
        logits_BHLM = logits_BHLM if bias_HLM is None else logits_BHLM + bias_HLM
        return self.o(seen.read(logits_BHLM, mask, self.rate, key), ops)


class FeedForward(nnx.Module):
    """W_o act(W_i x), or W_o (act(W_0 x) * W_1 x)."""

    def __init__(self, path: str, config: T5Config):
        self.config = config
        for name in ("wi_0", "wi_1") if config.gated else ("wi",):
            setattr(self, name, Linear(f"{path}.{name}", config.d_model, config.d_ff, bias=False))
        self.wo = Linear(f"{path}.wo", config.d_ff, config.d_model, bias=False)

    def __call__(self, x: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        act = ACTIVATIONS[self.config.activation]
        if self.config.gated:
            y = act(self.wi_0(x, ops)) * self.wi_1(x, ops)
        else:
            y = act(self.wi(x, ops))
        return self.wo(dropout(y, self.config.dropout_rate, key), ops)


class Part(nnx.Module):
    """A norm and what follows it, under torch's name for that."""

    def __init__(self, name: str, inner: nnx.Module, config: T5Config, dtype):
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon, dtype)
        setattr(self, name, inner)


class Block(nnx.Module):
    """x <- x + attention(norm(x)), in a decoder the same on the encoder's states, feed-forward."""

    def __init__(self, path: str, config: T5Config, decoder: bool, first: bool, dtype):
        self.rate = config.dropout_rate
        own = Attention(f"{path}.layer.0.SelfAttention", config, with_bias=first)
        parts = [Part("SelfAttention", own, config, dtype)]
        if decoder:
            other = Attention(f"{path}.layer.1.EncDecAttention", config)
            parts.append(Part("EncDecAttention", other, config, dtype))
        forward = FeedForward(f"{path}.layer.{len(parts)}.DenseReluDense", config)
        parts.append(Part("DenseReluDense", forward, config, dtype))
        self.layer = nnx.List(parts)

    def remember(self, memory_BMD: jax.Array, ops: Ops) -> KeyValue:
        """What this block reads of the encoder's states."""
        return self.layer[1].EncDecAttention.remember(memory_BMD, ops)

    def __call__(self, x, where: Where, memory: KeyValue | None, ops: Ops, key, past=None):
        """(B, L, D) -> (B, L, D), and the own keys and values, those of the cache included."""
        keys = fork(key, 6)
        own, last = self.layer[0], self.layer[-1]
        normed = own.layer_norm(x)
        seen = own.SelfAttention.remember(normed, ops)
        seen = seen if past is None else written(past, seen, where.slot)
        y = own.SelfAttention(normed, seen, where.mask, where.bias_HLM, ops, keys[0])
        x = x + dropout(y, self.rate, keys[1])
        if memory is not None:
            other = self.layer[1]
            normed = other.layer_norm(x)
            y = other.EncDecAttention(normed, memory, where.memory_mask_BM, None, ops, keys[2])
            x = x + dropout(y, self.rate, keys[3])
        y = last.DenseReluDense(last.layer_norm(x), ops, keys[4])
        return x + dropout(y, self.rate, keys[5]), seen


class Stack(nnx.Module):
    """Encoder or decoder: the blocks and the last norm."""

    def __init__(self, path: str, config: T5Config, decoder: bool, dtype):
        self.config = config
        self.decoder = decoder
        count = config.decoder_layers if decoder else config.num_layers
        self.block = nnx.List(
            Block(f"{path}.block.{i}", config, decoder, i == 0, dtype) for i in range(count)
        )
        self.final_layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon, dtype)

    def table(self, length: int):
        """The bucket of every distance in a sequence, a constant."""
        config = self.config
        return buckets.distances(
            length,
            config.relative_attention_num_buckets,
            config.relative_attention_max_distance,
            both=not self.decoder,
        )

    def bias(self, ids, ops: Ops) -> jax.Array:
        """(H, n) of n buckets."""
        return self.block[0].layer[0].SelfAttention.relative_attention_bias(ids, ops).T

    def __call__(self, x, mask_BL, memory, memory_mask_BM, ops: Ops, key, remat: bool, scan: int):
        """The embeddings, the output of every block but the last, and the normed last one.

        Args:
          x: embeddings, (B, L, D).
          mask_BL: of x.
          memory: the encoder's last states (B, M, D), None in the encoder.
          memory_mask_BM: of them.
          ops, key: as everywhere.
          remat, scan: see `through`.
        """
        length = x.shape[1]
        rows = self.bias(self.table(length), ops)
        bias_HLM = align(jnp.broadcast_to(rows[:, None], (len(rows), length, 2 * length - 1)))
        mask = causal(mask_BL) if self.decoder else mask_BL
        where = Where(mask, bias_HLM, None, memory_mask_BM)
        rate = self.config.dropout_rate
        first, final, *rest = fork(key, len(self.block) + 2)

        def call(block, x, ops, key):
            seen = None if memory is None else block.remember(memory, ops)
            return block(x, where, seen, ops, key)[0]

        x = dropout(x, rate, first)
        *states, x = through(self.block, x, ops, rest, call, remat, scan)
        return *states, dropout(self.final_layer_norm(x), rate, final)

    def step(self, x_B1D, past, memory, memory_mask_BM, slot, ops: Ops):
        """One token of a decoder with a cache: its normed state (B, 1, D), and the cache."""
        slots = past[0].keys.shape[1]
        bias_HM = self.bias(buckets.to_step(self.table(slots), slot), ops)
        mask = jnp.broadcast_to(jnp.arange(slots) <= slot, (len(x_B1D), slots))
        where, seen = Where(mask, bias_HM[:, None], slot, memory_mask_BM), []
        for block, before, others in zip(self.block, past, memory, strict=True):
            x_B1D, own = block(x_B1D, where, others, ops, None, before)
            seen.append(own)
        return self.final_layer_norm(x_B1D), tuple(seen)
