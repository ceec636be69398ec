"""The layers that every architecture is made of: y = x W + b, look-up, normalisation, attention.

Parameters are float32 and lie under torch's module names, so that a leaf's place in the tree is
its name in a checkpoint. Activations have the compute dtype; sums over features and over keys are
taken in float32 whatever that is. Letters in array names: B batch, L and M sequence, D features,
H heads, J heads of keys and values, G of a group that shares them, K features of a head.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.parts.ops import Ops, precision

# Recomputed: else the backward pass keeps three arrays of the widest layer's size (u, erfc and
# exp(-u^2 / 2)) where u is enough. On a CPU that costs no time: it is memory that is slow.
ACTIVATIONS = {
    "gelu": jax.checkpoint(functools.partial(jax.nn.gelu, approximate=False)),
    "gelu_new": jax.checkpoint(functools.partial(jax.nn.gelu, approximate=True)),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}
"""By the names of config.json; "gelu" is the exact one, with erf."""


class Linear(nnx.Module):
    """y = x W + b, or x W, with kernel W (in, out); the product goes through `Ops.linear`."""

    def __init__(self, path: str, size_in: int, size_out: int, bias: bool = True):
        self.path = path
        self.kernel = nnx.Param(jnp.zeros((size_in, size_out), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(size_out, jnp.float32)) if bias else None

    def __call__(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(..., in) -> (..., out), in the dtype of x."""
        y = ops.linear(self.path, x, self.kernel[...])
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class Embedding(nnx.Module):
    """Rows of a table (rows, features); the look-up goes through `Ops.embed`."""

    def __init__(self, path: str, rows: int, size: int):
        self.path = path
        self.embedding = nnx.Param(jnp.zeros((rows, size), jnp.float32))

    def __call__(self, ids: jax.Array, ops: Ops) -> jax.Array:
        """ids (...) -> (..., features), in the dtype of the table."""
        return ops.embed(self.path, ids, self.embedding[...])


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(variance + eps) * scale + bias over the last axis, at least in float32.

    The result has `dtype`, the compute dtype; without `bias` nothing is added.
    """

    def __init__(self, size: int, eps: float, dtype, bias: bool = True):
        self.eps = eps
        self.dtype = jnp.dtype(dtype)
        self.scale = nnx.Param(jnp.ones(size, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(size, jnp.float32)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., D) of any floating dtype -> (..., D) in the compute dtype."""
        x = x.astype(wide(x.dtype))
        x = x - x.mean(-1, keepdims=True)
        variance = (x * x).mean(-1, keepdims=True)
        y = x * jax.lax.rsqrt(variance + self.eps) * self.scale[...]
        return (y if self.bias is None else y + self.bias[...]).astype(self.dtype)


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * scale over the last axis, at least in float32.

    The result has `dtype`, the compute dtype. Source: Zhang and Sennrich (2019).
    """

    def __init__(self, size: int, eps: float, dtype):
        self.eps = eps
        self.dtype = jnp.dtype(dtype)
        self.scale = nnx.Param(jnp.ones(size, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., D) of any floating dtype -> (..., D) in the compute dtype."""
        x = x.astype(wide(x.dtype))
        y = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.scale[...]
        return y.astype(self.dtype)


def wide(dtype) -> jnp.dtype:
    """The dtype of norms, softmax and masks: float32, or float64 where the network is float64."""
    return jnp.promote_types(dtype, jnp.float32)


def fork(key: jax.Array | None, parts: int) -> tuple[jax.Array | None, ...]:
    """`parts` keys for the parts of a layer; without a key there is no dropout anywhere."""
    return (None,) * parts if key is None else tuple(jax.random.split(key, parts))


def dropout(x: jax.Array, rate: float | jax.Array, key: jax.Array | None) -> jax.Array:
    """Each entry is zero with probability `rate`, else divided by 1 - rate; x without a key.

    A traced rate is allowed: all rates then share one program, and one draw at the same key.
    """
    if key is None or (not isinstance(rate, jax.Array) and rate == 0):
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), jnp.zeros((), x.dtype))


def positions(length: int, longest: int) -> jax.Array:
    """0, ..., length - 1.

    Raises:
      ValueError: more positions than the table has (a look-up would silently repeat the last).
    """
    if length > longest:
        raise ValueError(
            f"input_ids have length {length}; "
            f"allowed is at most {longest} (max_position_embeddings)"
        )
    return jnp.arange(length)


def split_heads(x_BLD: jax.Array, heads: int) -> jax.Array:
    """(..., D) -> (..., H, K)."""
    return x_BLD.reshape(*x_BLD.shape[:-1], heads, -1)


def scores(equation: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """Inner products by an einsum equation, summed and kept in float32 at least."""
    return jnp.einsum(
        equation, x, y, precision=precision(x.dtype), preferred_element_type=wide(x.dtype)
    )


def grouped_scores(query_BLHK: jax.Array, key_BMJK: jax.Array) -> jax.Array:
    """Q K^T, (B, H, L, M): key head j serves the query heads j H/J, ..., (j + 1) H/J - 1."""
    size, length, heads, _ = query_BLHK.shape
    query_BLJGK = query_BLHK.reshape(size, length, key_BMJK.shape[2], -1, query_BLHK.shape[-1])
    logits_BJGLM = scores("bljgk,bmjk->bjglm", query_BLJGK, key_BMJK)
    return logits_BJGLM.reshape(size, heads, length, -1)


def attend(
    scores_BHLM: jax.Array,
    value_BMJK: jax.Array,
    mask: jax.Array,
    rate: float,
    key: jax.Array | None,
) -> jax.Array:
    """softmax(scores where the key is a token) V, heads joined: (B, L, D) in the dtype of V.

    The softmax is taken in float32; the masked score is the least number of the compute dtype, so
    that a sequence of padding alone stays finite.

    Args:
      scores_BHLM: of all heads.
      value_BMJK: of as many heads, or of a divisor of them; see `grouped_scores`.
      mask: (B, M) or, where it depends on the query, (B, L, M).
      rate: of the dropout on the weights.
      key: None for no dropout.
    """
    dtype, heads = value_BMJK.dtype, value_BMJK.shape[2]
    mask = mask.astype(bool)
    mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
    least = jnp.asarray(jnp.finfo(dtype).min, scores_BHLM.dtype)
    masked = jnp.where(mask, scores_BHLM, least)
    # Divided by their sum after the product with V: of arrays (B, H, L, M) only exp is kept.
    weights = jnp.exp(masked - jax.lax.stop_gradient(masked.max(-1, keepdims=True)))
    size, all_heads, length, _ = weights.shape
    groups = (size, heads, all_heads // heads, length)
    total = weights.sum(-1).reshape(*groups, 1)
    weights = dropout(weights.astype(dtype), rate, key).reshape(*groups, -1)
    joined = scores("bjglm,bmjk->bjglk", weights, value_BMJK) / total
    return jnp.moveaxis(joined, 3, 1).astype(dtype).reshape(size, length, -1)
