"""Logits of a language model for part after part of the tokens, never for all of them at once.

Of 32 rows of 512 tokens and 49 152 entries of a vocabulary they would be 3.2 GB in float32, their
softmax and its gradient as much again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

IGNORED = -100
"""The label of what carries no loss, as everywhere in PyTorch."""
LIMIT = 2**28
"""Bytes of the logits that are there at once, in float32."""


def surprisals(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log p of every label, float32 (...); 0 where it is `IGNORED`.

    Args:
      logits: (..., V), any floating type.
      labels: integers (...).

    Example:
      >>> [round(float(s), 3) for s in surprisals(jnp.zeros((2, 4)), jnp.array([3, IGNORED]))]
      [1.386, 0.0]
    """
    logits, counted = logits.astype(jnp.float32), labels != IGNORED
    indices = jnp.where(counted, labels, 0)[..., None]
    chosen = jnp.take_along_axis(logits, indices, axis=-1)[..., 0]
    return jnp.where(counted, jax.nn.logsumexp(logits, axis=-1) - chosen, 0)


def by_parts(
    logits: Callable[[jax.Array], jax.Array],
    function: Callable[[jax.Array, dict[str, jax.Array]], Any],
    states: jax.Array,
    labels: Mapping[str, jax.Array],
) -> Any:
    """function(logits(states_p), labels_p) for parts p of the tokens.

    The parts are of equal length, the last one filled up, and as many as `LIMIT` asks for. The
    backward pass computes the logits of each again. Rows stay whole, so that they may lie on
    several devices.

    Args:
      logits: (b, t, D) -> (b, t, V).
      states: (b, T, D).
      labels: integers (b, T); `IGNORED` where a part is filled up.

    Returns:
      What the function returns, with a first axis of the parts.

    Example:
      >>> def counted(logits, labels):
      ...     return jnp.sum(labels["own"] != IGNORED)
      >>> by_parts(lambda x: x, counted, jnp.ones((2, 3, 5)), {"own": jnp.ones((2, 3), int)})
      Array([6], dtype=int32)
    """
    rows, length = states.shape[:2]
    vocabulary = jax.eval_shape(logits, states[:, :1]).shape[-1]
    width = min(length, max(1, LIMIT // (4 * rows * vocabulary)))
    count = -(-length // width)
    width = -(-length // count)

    def parts(leaf, fill):
        room = [(0, 0), (0, count * width - length), *[(0, 0)] * (leaf.ndim - 2)]
        filled = jnp.pad(leaf, room, constant_values=fill)
        return jnp.moveaxis(filled.reshape(rows, count, width, *leaf.shape[2:]), 1, 0)

    def of_part(part):
        return function(logits(part[0]), part[1])

    if count == 1:
        return jax.tree.map(lambda leaf: leaf[None], of_part((states, dict(labels))))
    cut = parts(states, 0), {name: parts(leaf, IGNORED) for name, leaf in labels.items()}
    return jax.lax.map(jax.checkpoint(of_part, prevent_cse=False), cut)
