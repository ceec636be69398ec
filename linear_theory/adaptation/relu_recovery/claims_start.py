"""Claims: how near the start from one gradient is with ReLU outputs, and how surely.

Legend: as in `arc_cosine`; W (d, k), W~ = W + Delta, J the GLM-tron direction at W.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.adaptation.arc_cosine import theory as arc_cosine
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import generator, norm, orthogonal

D, K, RANK, DRAWS = 4, 3, 2, 32
FEW, MANY = 50, 800
MISSES = (0.5, 0.2, 0.1)
TOLERANCE = 0.15  # of a power read off means of DRAWS draws at FEW and at MANY samples


class Layers(NamedTuple):
    """weights W, delta (n, 1, 4, 3), and 32 draws of inputs (n, 32, 800, 4)."""

    weights: np.ndarray
    delta: np.ndarray
    x: np.ndarray


def draw_layers(key, trials: int) -> Layers:
    """At most 40 changes of rank 2, from a tenth of the weights to ten times their size.

    Example:
      >>> import jax
      >>> draw_layers(jax.random.key(0), 2).x.shape
      (2, 32, 800, 4)
    """
    rng, count = generator(key), min(trials, 40)
    left, right = orthogonal(rng, count, 1, D, RANK), orthogonal(rng, count, 1, RANK, K)
    delta = left * rng.uniform(0.5, 1, (count, 1, 1, RANK)) @ right
    weights = rng.standard_normal((count, 1, D, K)) / (D * K) ** 0.5
    size = 10.0 ** rng.uniform(-1, 1, (count, 1, 1, 1))
    return Layers(weights, size * delta, rng.standard_normal((count, DRAWS, MANY, D)))


def _direction(layers: Layers, samples: int) -> np.ndarray:
    """J (n, 32, 4, 3)."""
    x = layers.x[:, :, :samples]
    targets = np.maximum(x @ (layers.weights + layers.delta), 0)
    return arc_cosine.glm_direction(x, layers.weights, targets)


def _deviation(layers: Layers, fixed: bool = False) -> Evidence:
    """Share of the draws within the radius, against 1 - miss."""
    misses, half = np.array(MISSES), layers.delta / 2
    error = norm(_direction(layers, FEW) - half) / norm(half)
    radius = np.sqrt(arc_cosine.largest_fluctuation(D, FEW) / misses)
    if fixed:
        radius = np.full_like(misses, np.sqrt(D / FEW))
    return Evidence(np.mean(error[:, :, None] <= radius, axis=1), (1 - misses)[None])


def _start(layers: Layers, power: float = -0.5) -> Evidence:
    """The power of N in the root mean square of ||A_0 B_0 - Delta||, gamma = 2, r = r*."""
    sizes = []
    for samples in (FEW, MANY):
        a, b = spectral_factors(_direction(layers, samples), RANK, 2.0)
        sizes.append(np.sqrt(np.mean(norm(a @ b - layers.delta) ** 2, axis=1)))
    return Evidence(measured_power(sizes, (FEW, MANY)), power, True, TOLERANCE)


CLAIMS = (
    Claim(
        name="relu_recovery.deviation",
        source="arXiv 2502.01235, proof of theorem 4.3: concentration of the direction",
        statement="The GLM-tron direction of a layer of any number of columns, for changes of any "
        "size: with probability 1 - miss it is within this share of half the change.",
        formula="P(||J - Delta/2||_F <= ||Delta/2||_F ((4 d + 7)/(N miss))^{1/2}) >= 1 - miss",
        kind="lower",
        status="with a condition",
        instances=draw_layers,
        measure=_deviation,
        control=Control("sqrt(d/N), whatever the miss", functools.partial(_deviation, fixed=True)),
    ),
    Claim(
        name="relu_recovery.start",
        source="arXiv 2502.01235, proof of theorem 4.3: recovery at the start",
        statement="The start from the singular vectors of J, gamma = 2 and r = r*, for changes of "
        "any size: its error falls with the root of the number of samples.",
        formula="d ln (E ||A_0 B_0 - Delta||_F^2)^{1/2} / d ln N = -1/2",
        kind="fit",
        status="as printed",
        instances=draw_layers,
        measure=_start,
        control=Control("the power -1", functools.partial(_start, power=-1.0)),
    ),
)
