"""Relative positions of T5: short distances have a bucket each, longer ones share them by scale.

All of this depends on the length alone: it is numpy, a constant of the program.

Source: Raffel et al. (2020), T5; transformers.models.t5, _relative_position_bucket.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def bucket(distance: np.ndarray, buckets: int, longest: int, both: bool) -> np.ndarray:
    """Of each distance, key index minus query index.

    With n buckets for a direction and h = n // 2, distance d < h has bucket d, a longer one
    h + floor((n - h) log(d/h) / log(longest/h)), at most n - 1. The borders are found in integers:
    with 32 buckets the distances 16, 32 and 64 lie exactly on one, where a rounded logarithm may
    fall on either side.

    Args:
      distance: integers.
      buckets: in all.
      longest: the distance scale's end.
      both: half of the buckets are for keys behind the query (an encoder); else those have the
        bucket of distance 0 (a decoder, which does not read them).

    Example:
      >>> bucket(np.array([-16, -15, 0, 1, 500]), 32, 128, both=True).tolist()
      [10, 9, 0, 17, 31]
    """
    distance = np.asarray(distance)
    count = buckets // 2 if both else buckets
    half = count // 2
    far = np.abs(distance) if both else np.maximum(-distance, 0)
    place = np.searchsorted(_borders(count, half, longest), far, side="right")
    place = np.where(far < half, far, half + place)
    return np.where(both & (distance > 0), place + count, place).astype(np.int32)


def distances(length: int, buckets: int, longest: int, both: bool) -> np.ndarray:
    """The buckets of the distances -(length - 1), ..., length - 1."""
    return bucket(np.arange(-(length - 1), length), buckets, longest, both)


def to_step(table: np.ndarray, slot: jax.Array) -> jax.Array:
    """The buckets of all keys, in slots, for a query in `slot`, from `distances` of the slots."""
    length = (len(table) + 1) // 2
    return jax.lax.dynamic_slice_in_dim(jnp.asarray(table), length - 1 - slot, length)


def _borders(count: int, half: int, longest: int) -> list[int]:
    """The least distance in bucket half + t, for t = 1, ..., count - half - 1."""
    parts, borders = count - half, []
    for t in range(1, parts):
        # (d/h)^parts >= (longest/h)^t, without fractions.
        bound = longest**t * half ** (parts - t)
        low, high = half, longest
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if middle**parts >= bound else (middle + 1, high)
        borders.append(low)
    return borders
