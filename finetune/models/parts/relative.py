"""Relative positions of DeBERTa: log buckets, and scores by distance laid out as query x key.

Distances up to half the buckets have one each, longer ones share buckets on a log scale up to the
greatest distance. All of this depends on the length alone: it is numpy, a constant of the program.

Source: He et al. (2021), DeBERTa, and its log-bucket variant (v2 and v3);
transformers.models.deberta_v2, make_log_bucket_position.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def log_bucket(distance: np.ndarray, buckets: int, longest: int) -> np.ndarray:
    """sign(x) (ceil(log(|x|/h) / log((longest-1)/h) (h-1)) + h) beyond h = buckets // 2, else x.

    In float32, because the reference rounds up there and a last bit decides near an integer.

    Args:
      distance: integers, query index minus key index.
      buckets: number of buckets on each side; h of them are exact.
      longest: the distance scale's end.

    Returns:
      Integers of the same shape, odd in `distance`.
    """
    half = buckets // 2
    size = np.maximum(np.abs(distance), half).astype(np.float32)
    span = np.log(np.float32((longest - 1) / half))
    scale = np.log(size / np.float32(half)) / span * np.float32(half - 1)
    far = np.sign(distance) * (np.ceil(scale).astype(np.int64) + half)
    return np.where(np.abs(distance) <= half, distance, far)


def rows_by_distance(length: int, buckets: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the position table that a sequence needs, and which of them each distance takes.

    Returns:
      rows (U,): the different rows, ascending; projecting only these saves work on short
        sequences. place (2 length - 1,): index into `rows` for the distances
        -(length - 1), ..., length - 1.
    """
    distance = np.arange(-(length - 1), length)
    index = np.clip(log_bucket(distance, buckets, longest) + buckets, 0, 2 * buckets - 1)
    return np.unique(index, return_inverse=True)


def align(x: jax.Array) -> jax.Array:
    """(..., L, 2L - 1) -> (..., L, L) with y[i, j] = x[i, j - i + L - 1].

    Row i of x, shifted left by i: padded by one column and read again with rows shorter by one.
    A reshape, where the usual gather would cost a scatter of the whole score matrix in the backward
    pass.
    """
    *lead, length, width = x.shape
    x = jnp.pad(x, [(0, 0)] * (len(lead) + 1) + [(0, 1)]).reshape(*lead, length * (width + 1))
    x = x[..., length - 1 : length - 1 + length * width]
    return x.reshape(*lead, length, width)[..., :length]
