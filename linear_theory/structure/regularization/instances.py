"""Linear layers with weight decay: the instances of the claims about them.

Legend: as in `regularization`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Evidence
from linear_theory.instances.random_matrices import (
    generator,
    shares,
    squared_norm,
    with_values,
)
from linear_theory.structure.deep_linear import theory as deep
from linear_theory.structure.regularization import theory as reg

SOURCE = "arXiv 2503.19859"
ROWS, COLUMNS, WIDTH = 5, 4, 6


class Decayed(NamedTuple):
    """A group of problems of one depth.

    Attributes:
      depth: L.
      target: Phi (n, 5, 4), with singular values (n, 4).
      values: phi, descending.
      decay: lam (n,).
      seed: of what else has to be drawn.
    """

    depth: int
    target: np.ndarray
    values: np.ndarray
    decay: np.ndarray
    seed: int

    def generator(self) -> np.random.Generator:
        """What else has to be drawn comes from here: the same at every call."""
        return np.random.default_rng(self.seed)


def draw_decayed(key, trials: int, depths=(2, 3, 4, 5, 6)) -> list[Decayed]:
    """Targets with values in (0.05, 3) and a weight decay in (0.05, 0.5), dealt to the depths.

    Example:
      >>> import jax
      >>> [group.depth for group in draw_decayed(jax.random.key(0), 3)]
      [2, 3, 4]
    """
    rng = generator(key)
    groups = []
    for depth, count in zip(depths, shares(trials, len(depths)), strict=True):
        if count:
            values = np.sort(rng.uniform(0.05, 3, (count, COLUMNS)), axis=1)[:, ::-1]
            decay = rng.uniform(0.05, 0.5, count)
            target = with_values(rng, values, ROWS, COLUMNS)
            groups.append(Decayed(depth, target, values, decay, int(rng.integers(2**63))))
    return groups


def energy(layers: deep.Layers) -> np.ndarray:
    """1/2 sum_l ||W_l||^2."""
    return sum(squared_norm(layer) for layer in layers) / 2


def _least_objective(group: Decayed, values: np.ndarray) -> np.ndarray:
    """The objective of balanced layers with the target's singular vectors and these values."""
    parts = reg.penalised(values, group.values, group.decay[:, None], group.depth)
    return np.asarray(parts).sum(axis=1)


def shrunk(group: Decayed) -> np.ndarray:
    """The singular values of the global minimiser."""
    return np.asarray(reg.shrink(group.values, group.decay[:, None], group.depth))


def _near_optimum(group: Decayed) -> np.ndarray:
    """The objective at layers that are optimal up to a perturbation of random size."""
    left, _, right = np.linalg.svd(group.target, full_matrices=False)
    best = left * shrunk(group)[:, None, :] @ right
    rng = group.generator()
    size = 10 ** rng.uniform(-4, 0, (len(best), 1, 1))
    layers = tuple(
        layer + size * rng.standard_normal(layer.shape)
        for layer in reg.balanced_layers(rng, best, group.depth, WIDTH)
    )
    return np.asarray(deep.objective(layers, group.target, group.decay))


def against(group: Decayed, values: Callable[[Decayed], np.ndarray] = shrunk) -> Evidence:
    """Objectives near the optimum, and the one that is said to be least."""
    candidates = values(group)
    return Evidence(_near_optimum(group), _least_objective(group, candidates))


def as_two_layers(group: Decayed) -> np.ndarray:
    """The soft threshold at lam, whatever the depth."""
    return np.asarray(reg.soft_threshold(group.values, group.decay[:, None]))
