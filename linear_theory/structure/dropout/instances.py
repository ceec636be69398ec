"""Regression with dropout in a linear network: the instances of the claims about it.

Legend: as in `dropout`.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from linear_theory.instances.random_matrices import generator, shares, with_values

SOURCE = "arXiv 2503.19859"
OUTPUTS, INPUTS, SAMPLES = 4, 5, 6
WIDTHS = (2, 3, 4, 6, 8)
EPS = np.finfo(np.float64).eps
# A loss is a sum of about (width * samples)^2 products of numbers of unit size.
ROUNDING = 1e3 * EPS


class Masked(NamedTuple):
    """A group of regression problems for networks of one width.

    Attributes:
      width: d.
      inputs: X (n, 5, 6), of full row rank, condition at most 10. targets: Y (n, 4, 6).
      keep: mu (n,).
      seed: of what else has to be drawn.
    """

    width: int
    inputs: np.ndarray
    targets: np.ndarray
    keep: np.ndarray
    seed: int

    def generator(self) -> np.random.Generator:
        """What else has to be drawn comes from here: the same at every call."""
        return np.random.default_rng(self.seed)


def draw_masked(key, trials: int, widths=WIDTHS) -> list[Masked]:
    """Problems with targets of singular values in (0.2, 3), keep rates in (0.3, 0.95).

    Example:
      >>> import jax
      >>> [group.width for group in draw_masked(jax.random.key(0), 2)]
      [2, 3]
    """
    rng = generator(key)
    groups = []
    for width, count in zip(widths, shares(trials, len(widths)), strict=True):
        if count:
            inputs = with_values(rng, rng.uniform(0.2, 2, (count, INPUTS)), INPUTS, SAMPLES)
            # Targets partly outside the row space of X.
            targets = with_values(rng, rng.uniform(0.2, 3, (count, OUTPUTS)), OUTPUTS, SAMPLES)
            keep, seed = rng.uniform(0.3, 0.95, count), int(rng.integers(2**63))
            groups.append(Masked(width, inputs, targets, keep, seed))
    return groups


def masks(width: int, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All 2^d masks (2^d, d) and their probabilities (2^d, n)."""
    drawn = np.array(list(itertools.product([0.0, 1.0], repeat=width)))
    count = drawn.sum(axis=1)[:, None]
    return drawn, keep**count * (1 - keep) ** (width - count)


def random_layers(group: Masked, *rows: int) -> list[np.ndarray]:
    """Gaussian layers with these numbers of rows, the first one on the inputs."""
    rng, count, sizes = group.generator(), len(group.keep), (INPUTS, *rows)
    return [
        rng.standard_normal((count, after, before)) / np.sqrt(before)
        for before, after in itertools.pairwise(sizes)
    ]
