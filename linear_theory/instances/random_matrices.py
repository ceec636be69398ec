"""Batches of random matrices for claims, in numpy: what is drawn once need not be compiled.

Shapes start with any batch axes. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Array, Evidence

Group = TypeVar("Group")


def generator(key: jax.Array) -> np.random.Generator:
    """A numpy generator that is a function of a typed JAX key.

    Example:
      >>> int(generator(jax.random.key(0)).integers(10)) in range(10)
      True
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def orthogonal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Matrices (..., m, n) with orthonormal columns, or rows if m < n, uniformly distributed.

    Example:
      >>> q = orthogonal(np.random.default_rng(0), 3, 2)
      >>> np.allclose(q.T @ q, np.eye(2))
      True
    """
    rows, columns = shape[-2:]
    if rows < columns:
        return np.swapaxes(orthogonal(rng, *shape[:-2], columns, rows), -1, -2)
    q, r = np.linalg.qr(rng.standard_normal(shape))
    # The sign of R's diagonal is a convention of the factorisation, not of the distribution.
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def with_values(rng: np.random.Generator, values: np.ndarray, rows: int, columns: int):
    """Matrices (..., rows, columns) with the singular values (..., K), K <= min(rows, columns).

    Example:
      >>> a = with_values(np.random.default_rng(0), np.array([3.0, 1.0]), 4, 5)
      >>> np.linalg.svd(a)[1].round(6).tolist()
      [3.0, 1.0, 0.0, 0.0]
    """
    batch, count = values.shape[:-1], values.shape[-1]
    left = orthogonal(rng, *batch, rows, count)
    right = orthogonal(rng, *batch, count, columns)
    return left * values[..., None, :] @ right


def falling(ratios: np.ndarray) -> np.ndarray:
    """Singular values (..., K + 1) from 1 downwards, by ratios s_{k+1} / s_k (..., K).

    Example:
      >>> falling(np.array([0.5, 0.5])).tolist()
      [1.0, 0.5, 0.25]
    """
    first = np.ones((*ratios.shape[:-1], 1))
    return np.cumprod(np.concatenate([first, ratios], axis=-1), axis=-1)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Vectors along the last axis divided by their lengths.

    Example:
      >>> unit_rows(np.array([[3.0, 4.0]])).tolist()
      [[0.6, 0.8]]
    """
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def transpose(matrix: np.ndarray) -> np.ndarray:
    """The last two axes exchanged."""
    return np.swapaxes(matrix, -1, -2)


def squared_norm(matrix: Array) -> Array:
    """Squared Frobenius norm over the last two axes, of numpy or JAX arrays."""
    return (matrix**2).sum((-2, -1))


def norm(matrix: Array, order: int | None = None) -> Array:
    """Norm over the last two axes: Frobenius; the largest singular value for 2, the least for -2.

    Example:
      >>> float(norm(np.diag([3.0, 4.0]))), float(norm(np.diag([3.0, 4.0]), -2))
      (5.0, 3.0)
    """
    if order is None:
        return squared_norm(matrix) ** 0.5
    xp = jnp if isinstance(matrix, jax.Array) else np
    return xp.linalg.norm(matrix, order, axis=(-2, -1))


def shares(trials: int, count: int) -> list[int]:
    """Trials dealt to `count` groups as evenly as possible.

    Example:
      >>> shares(7, 3)
      [3, 2, 2]
    """
    return [trials // count + (group < trials % count) for group in range(count)]


def merge(parts: Sequence[Evidence]) -> Evidence:
    """Evidence of groups of instances of different shapes, one entry per instance, in one piece.

    Each side of a part must have one entry per instance, or be a scalar beside one that has.

    Example:
      >>> merge([Evidence(np.ones(2), 1.0), Evidence(np.ones(1), 2.0)]).bound.tolist()
      [1.0, 1.0, 2.0]
    """
    columns = []
    for part in parts:
        sides = [0.0 if side is None else side for side in part]
        columns.append(np.broadcast_arrays(*sides))
    measured, bound, premise, tolerance = (
        np.concatenate(side) for side in zip(*columns, strict=True)
    )
    return Evidence(measured, bound, premise, tolerance)


def per_group(measure: Callable[[Group], Evidence]) -> Callable[[Sequence[Group]], Evidence]:
    """Applies a measure with one entry per instance to each group of instances, and merges.

    Example:
      >>> per_group(lambda group: Evidence(group, 1.0))([np.zeros(2), np.ones(1)]).measured.tolist()
      [0.0, 0.0, 1.0]
    """
    return lambda groups: merge([measure(group) for group in groups])
