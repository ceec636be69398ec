"""Keys and values that a decoder keeps while it generates, in arrays of a fixed size.

New tokens of all rows go to one slot, the next one behind the padded prompt; what a row may read
is told by a mask. So a step is one program, whatever the lengths of the prompts.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class KeyValue(NamedTuple):
    """Of one attention.

    Attributes:
      keys, values: (B, M, J, K) in the compute dtype.
    """

    keys: jax.Array
    values: jax.Array


def roomy(own: KeyValue, length: int) -> KeyValue:
    """With `length` empty slots behind."""
    room = [(0, 0), (0, length), (0, 0), (0, 0)]
    return KeyValue(*(jnp.pad(leaf, room) for leaf in own))


def written(past: KeyValue, own: KeyValue, slot: jax.Array) -> KeyValue:
    """`past` with `own`, of one token, in a slot."""
    return KeyValue(
        *(
            jax.lax.dynamic_update_slice_in_dim(leaf, new, slot, axis=1)
            for leaf, new in zip(past, own, strict=True)
        )
    )


def causal(mask_BL: jax.Array) -> jax.Array:
    """(B, L, L): a token reads the tokens before it and itself."""
    length = mask_BL.shape[1]
    return jnp.tril(jnp.ones((length, length), bool)) & mask_BL.astype(bool)[:, None, :]


def last(x_BLD: jax.Array, mask_BL: jax.Array) -> jax.Array:
    """The vector of the last token that is not padding, (B, D)."""
    length = mask_BL.shape[1]
    place_B = jnp.max(jnp.where(mask_BL.astype(bool), jnp.arange(length), 0), axis=1)
    return jnp.take_along_axis(x_BLD, place_B[:, None, None], axis=1)[:, 0]
