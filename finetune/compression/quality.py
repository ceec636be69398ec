"""What a compressed network is worth: its perplexity, or how far its vectors of texts turned."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from finetune.compression.moments import Forward, Params
from finetune.compression.texts import Blocks
from finetune.models.parts.heads import pool
from finetune.models.parts.ops import PLAIN


def perplexity(forward: Forward, params: Params, blocks: Blocks, size: int = 8) -> float:
    """exp(-(1 / T) sum_t log p(token t | those before it in its block)), T tokens in all.

    Args:
      forward: of a causal language model, giving an `Output`.
      params: by torch name.
      blocks: of two tokens or more.
      size: rows of a batch.
    """
    parts = [np.asarray(_losses(forward, params, b), np.float64) for b in blocks.batches(size)]
    loss, count = np.sum(parts, axis=0)
    with np.errstate(over="ignore"):
        return float(np.exp(loss / count))


def vectors(forward: Forward, params: Params, blocks: Blocks, size: int = 32) -> np.ndarray:
    """The mean of the last hidden states of every text (n, D), as sentence encoders have it."""
    parts = [np.asarray(_means(forward, params, batch)) for batch in blocks.batches(size)]
    order = blocks.order()
    unsorted = np.empty((len(order), parts[0].shape[1]), np.float32)
    unsorted[order] = np.concatenate(parts)[: len(order)]
    return unsorted


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The cosine of the angle between the rows of (n, D) and (n, D).

    Example:
      >>> cosines(np.eye(2), np.array([[2.0, 0.0], [3.0, 4.0]])).tolist()
      [1.0, 0.8]
    """
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.sum(left * right, axis=1) / np.where(lengths > 0, lengths, math.inf)


@functools.partial(jax.jit, static_argnums=0)
def _losses(forward, params, batch):
    logits = forward(params, batch, PLAIN).logits[:, :-1].astype(jnp.float32)
    ids, counted = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:]
    chosen = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    each = (jax.nn.logsumexp(logits, axis=-1) - chosen) * counted
    return jnp.stack([each.sum(), counted.sum().astype(jnp.float32)])


@functools.partial(jax.jit, static_argnums=0)
def _means(forward, params, batch):
    states = forward(params, batch, PLAIN).hidden_states[-1]
    return pool(states.astype(jnp.float32), batch["attention_mask"], "mean")
