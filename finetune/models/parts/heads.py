"""From the last hidden states to logits, in float32 also where the encoder is bfloat16.

A regression head is a classification head with one label.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.parts.layers import ACTIVATIONS, Embedding, Linear, wide
from finetune.models.parts.ops import Ops, matmul

POOLINGS = ("cls", "mean")
NONE = "none"
"""The pooling of a head that reads every token: start and end of a span."""


def pool(hidden_BLD: jax.Array, mask_BL: jax.Array, pooling: str) -> jax.Array:
    """The vector that stands for a sequence, (B, D) in float32; with "none" all, (B, L, D).

    "cls": the first token's, as transformers' heads have it. "mean": the mean over the tokens that
    are not padding, as sentence encoders (MiniLM) are trained; a row of padding alone gives zero.
    """
    if pooling == "cls":
        first_BD = hidden_BLD[:, 0]
        return first_BD.astype(wide(first_BD.dtype))
    hidden_BLD = hidden_BLD.astype(wide(hidden_BLD.dtype))
    if pooling == NONE:
        return hidden_BLD
    mask_BL1 = mask_BL[..., None].astype(hidden_BLD.dtype)
    return (hidden_BLD * mask_BL1).sum(1) / jnp.maximum(mask_BL1.sum(1), 1)


def vocabulary(x: jax.Array, table: Embedding) -> jax.Array:
    """x E^T for the table E (V, D) of the input's embeddings: (..., D) -> (..., V) in float32.

    Not through `Ops`: an adapter on the look-up does not reach a head that is tied to the table.
    """
    x, table = x.astype(wide(x.dtype)), table.embedding[...]
    if math.prod(x.shape[:-1]) == 1:
        # As E x, which on a CPU reads the rows as they lie; x E^T takes a third longer.
        return matmul(table, x.reshape(-1, 1)).reshape(*x.shape[:-1], -1)
    return matmul(x, table.T)


class Pooler(nnx.Module):
    """act(x W + b) on the pooled vector, before the classifier (BERT: tanh, DeBERTa: gelu)."""

    def __init__(self, path: str, size: int, activation: str):
        self.activation = activation
        self.dense = Linear(f"{path}.dense", size, size)

    def __call__(self, x_BD: jax.Array, ops: Ops) -> jax.Array:
        """(B, D) -> (B, D)."""
        return ACTIVATIONS[self.activation](self.dense(x_BD, ops))
