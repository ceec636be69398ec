"""The post-norm transformer layer that BERT and DeBERTa share, around a self-attention of each.

x <- LayerNorm(x + W_o attention(x)),  x <- LayerNorm(x + W_2 act(W_1 x)).

Attribute names are torch's (`self`, `LayerNorm`), because the parameter tree is the key table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from finetune.models.parts.depth import through
from finetune.models.parts.layers import ACTIVATIONS, LayerNorm, Linear, dropout, fork
from finetune.models.parts.ops import Ops


class AddNorm(nnx.Module):
    """LayerNorm(dropout(x W + b) + residual)."""

    def __init__(self, path: str, size_in: int, config, dtype):
        self.rate = config.hidden_dropout_prob
        self.dense = Linear(f"{path}.dense", size_in, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps, dtype)

    def __call__(self, x: jax.Array, residual: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, in) and (B, L, D) -> (B, L, D)."""
        return self.LayerNorm(dropout(self.dense(x, ops), self.rate, key) + residual)


class Intermediate(nnx.Module):
    """act(x W + b), the wide half of the feed-forward network."""

    def __init__(self, path: str, config):
        self.activation = config.hidden_act
        self.dense = Linear(f"{path}.dense", config.hidden_size, config.intermediate_size)

    def __call__(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(B, L, D) -> (B, L, intermediate)."""
        return ACTIVATIONS[self.activation](self.dense(x, ops))


class Attention(nnx.Module):
    """Self-attention, its output projection and its residual."""

    def __init__(self, path: str, self_attention: Callable, config, dtype):
        self.self = self_attention(f"{path}.self", config)
        self.output = AddNorm(f"{path}.output", config.hidden_size, config, dtype)

    def __call__(self, x: jax.Array, context: Any, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        inner, outer = fork(key, 2)
        return self.output(self.self(x, context, ops, inner), x, ops, outer)


class Layer(nnx.Module):
    """One encoder layer; `context` is whatever its self-attention reads beside x."""

    def __init__(self, path: str, self_attention: Callable, config, dtype):
        self.attention = Attention(f"{path}.attention", self_attention, config, dtype)
        self.intermediate = Intermediate(f"{path}.intermediate", config)
        self.output = AddNorm(f"{path}.output", config.intermediate_size, config, dtype)

    def __call__(self, x: jax.Array, context: Any, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        inner, outer = fork(key, 2)
        x = self.attention(x, context, ops, inner)
        return self.output(self.intermediate(x, ops), x, ops, outer)


def stack(
    layers: nnx.List,
    x: jax.Array,
    context: Any,
    ops: Ops,
    key,
    remat: bool = False,
    scan: int = 0,
) -> tuple[jax.Array, ...]:
    """x and the output of each layer in turn, as `depth.through` has it."""

    def call(layer, x, ops, key):
        return layer(x, context, ops, key)

    return through(layers, x, ops, fork(key, len(layers)), call, remat, scan)
