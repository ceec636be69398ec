"""Random maps, inputs and adapters for the claims of compression.

Legend: as in `compression`; m = 7, d = 6, rank 3.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.instances.random_matrices import generator, orthogonal, with_values

ROWS, COLUMNS, RANK = 7, 6, 3


class Layer(NamedTuple):
    """W0 (n, 7, 6) and X (n, 6, N)."""

    weight: np.ndarray
    inputs: np.ndarray

    @property
    def gram(self) -> np.ndarray:
        """S (n, 6, 6)."""
        return self.inputs @ self.inputs.mT


def draw_layers(key, trials: int, tokens: int = 20) -> Layer:
    """Inputs of unequal scales that are correlated, as activations are.

    Example:
      >>> import jax
      >>> draw_layers(jax.random.key(0), 2).gram.shape
      (2, 6, 6)
    """
    rng = generator(key)
    weight = rng.standard_normal((trials, ROWS, COLUMNS))
    scales = 10 ** rng.uniform(-0.7, 0.7, (trials, COLUMNS, 1))
    mix = orthogonal(rng, trials, COLUMNS, COLUMNS)
    inputs = mix @ (scales * rng.standard_normal((trials, COLUMNS, tokens))) / tokens**0.5
    return Layer(weight, inputs)


draw_few = functools.partial(draw_layers, tokens=4)
"""Fewer tokens than inputs: S is singular."""


def draw_extremal(key, trials: int) -> Layer:
    """W0 = diag(w, 1) with w^2 just below beta, S = I: the metric diag(1, beta) pays its price.

    Example:
      >>> import jax
      >>> draw_extremal(jax.random.key(0), 2).weight.shape
      (2, 2, 2)
    """
    beta = generator(key).uniform(4, 9, trials)
    weight = np.zeros((trials, 2, 2))
    weight[:, 0, 0], weight[:, 1, 1] = (0.999 * beta) ** 0.5, 1
    return Layer(weight, np.tile(np.eye(2), (trials, 1, 1)))


class Pair(NamedTuple):
    """Changes B_i A_i of rank 2, B_i (n, 7, 2), A_i (n, 2, 6), weights (n, 2), grams S_i."""

    b: tuple[np.ndarray, np.ndarray]
    a: tuple[np.ndarray, np.ndarray]
    weights: np.ndarray
    grams: tuple[np.ndarray, np.ndarray]

    @property
    def total(self) -> np.ndarray:
        """sum_i w_i B_i A_i."""
        terms = zip(np.moveaxis(self.weights, 1, 0), self.b, self.a, strict=True)
        return sum(w[:, None, None] * (b @ a) for w, b, a in terms)


def draw_pairs(key, trials: int) -> Pair:
    """Two adapters of rank 2 with weights of either sign, and moments of their tasks.

    Example:
      >>> import jax
      >>> draw_pairs(jax.random.key(0), 3).total.shape
      (3, 7, 6)
    """
    rng = generator(key)
    b = tuple(rng.standard_normal((trials, ROWS, 2)) for _ in range(2))
    a = tuple(rng.standard_normal((trials, 2, COLUMNS)) for _ in range(2))
    sides = [
        with_values(rng, 10 ** rng.uniform(-0.7, 0.7, (trials, COLUMNS)), COLUMNS, COLUMNS)
        for _ in range(2)
    ]
    weights = rng.uniform(0.3, 1, (trials, 2)) * rng.choice([-1, 1], (trials, 2))
    return Pair(b, a, weights, tuple(side @ side.mT for side in sides))
