"""Keys and values that a decoder keeps while it generates, in arrays of a fixed size.

New tokens of all rows go to one slot, the next one behind the padded prompt; what a row may read
is told by a mask. So a step is one program, whatever the lengths of the prompts.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from finetune.models.parts.layers import attend, grouped_scores


class KeyValue(NamedTuple):
    """Of one attention, as the products with them read them.

    In another order, or with rows and heads in two axes, XLA copies all of a cache for every token.

    Attributes:
      keys, values: (B J, M, K) in the compute dtype, the heads of a row one after the other.

    Example:
      >>> seen = KeyValue.of(jnp.ones((1, 3, 2, 4)), jnp.ones((1, 3, 2, 4)))
      >>> scores = seen.scores(jnp.ones((1, 1, 2, 4)))
      >>> seen.keys.shape, scores.shape, seen.read(scores, jnp.ones((1, 3)), 0.0, None).shape
      ((2, 3, 4), (1, 2, 1, 3), (1, 1, 8))
    """

    keys: jax.Array
    values: jax.Array

    @classmethod
    def of(cls, key_BMJK: jax.Array, value_BMJK: jax.Array) -> KeyValue:
        """Of keys and values (B, M, J, K)."""
        both = (jnp.swapaxes(leaf, 1, 2) for leaf in (key_BMJK, value_BMJK))
        return cls(*(leaf.reshape(-1, *leaf.shape[2:]) for leaf in both))

    def scores(self, query_BLHK: jax.Array) -> jax.Array:
        """Q K^T, (B, H, L, M); see `grouped_scores`."""
        rows, length, heads, size = query_BLHK.shape
        count = len(self.keys)
        query_BJLGK = jnp.swapaxes(query_BLHK.reshape(rows, length, count // rows, -1, size), 1, 2)
        query_NLGK = query_BJLGK.reshape(count, length, -1, size)
        logits_NGLM = grouped_scores(query_NLGK, self.keys[:, :, None])
        return logits_NGLM.reshape(rows, heads, length, -1)

    def read(
        self, scores_BHLM: jax.Array, mask: jax.Array, rate: float, key: jax.Array | None
    ) -> jax.Array:
        """softmax(scores where the key is a token) V, (B, L, D); see `attend`."""
        rows, _, length, _ = scores_BHLM.shape
        count = len(self.values)
        scores_NGLM = scores_BHLM.reshape(count, -1, *scores_BHLM.shape[2:])
        mask = jnp.repeat(mask, count // rows, axis=0)
        joined_NLD = attend(scores_NGLM, self.values[:, :, None], mask, rate, key)
        joined_BJLD = joined_NLD.reshape(rows, -1, *joined_NLD.shape[1:])
        return jnp.swapaxes(joined_BJLD, 1, 2).reshape(rows, length, -1)


def roomy(own: KeyValue, length: int) -> KeyValue:
    """With `length` empty slots behind."""
    room = [(0, 0), (0, length), (0, 0)]
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
