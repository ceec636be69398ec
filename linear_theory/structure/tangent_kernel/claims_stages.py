"""Claims: a nonlinear change in several tangent models, as when an adapter is merged on the way.

Legend: f(W) = V tanh(W X) (3 outputs, 6 samples); f'(W)[D] its derivative along D; a change Delta
of W in K stages of the tangent models at W + (k/K) Delta.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import generator, norm

OUTPUTS, HIDDEN, INPUTS, SAMPLES = 3, 4, 5, 6
STAGES = (64, 128)


class Network(NamedTuple):
    """weight W and change Delta (n, 4, 5), outer V (n, 3, 4), inputs X (n, 5, 6)."""

    weight: np.ndarray
    change: np.ndarray
    outer: np.ndarray
    inputs: np.ndarray


def draw_networks(key, trials: int) -> Network:
    """Gaussian arrays; changes are as large as the weights.

    Example:
      >>> import jax
      >>> draw_networks(jax.random.key(0), 2).change.shape
      (2, 4, 5)
    """
    rng = generator(key)
    shapes = (HIDDEN, INPUTS), (HIDDEN, INPUTS), (OUTPUTS, HIDDEN), (INPUTS, SAMPLES)
    arrays = (rng.standard_normal((trials, *shape)) for shape in shapes)
    return Network(*(array / array.shape[2] ** 0.5 for array in arrays))


def _predicted(network: Network, stages: int, at: float, renewed: bool) -> np.ndarray:
    """f(W) and all stages, each by the tangent model at the share `at` of its own way."""
    weight, change, outer, inputs = network
    values = outer @ np.tanh(weight @ inputs)
    for stage in range(stages):
        place = (stage + at) / stages if renewed else 0
        slope = 1 - np.tanh((weight + place * change) @ inputs) ** 2
        values = values + outer @ (slope * (change @ inputs)) / stages
    return values


def _power(network: Network, at: float = 0.0, renewed: bool = True) -> Evidence:
    end = network.outer @ np.tanh((network.weight + network.change) @ network.inputs)
    errors = [norm(_predicted(network, k, at, renewed) - end) for k in STAGES]
    # The next power is smaller by K, or for midpoints by K^2.
    return Evidence(measured_power(errors, STAGES), -1.0 - 2 * at, tolerance=0.01 if at else 0.1)


_SOURCE = "arXiv 2502.01235, outlook: the nonlinearity in practice; derived here"

CLAIMS = (
    Claim(
        name="tangent_kernel.stages",
        source=_SOURCE,
        statement="A change that one tangent model misses is met by K of them, each renewed where "
        "the last one ended, up to 1/K.",
        formula="||f(W + Delta) - f(W) - sum_k f'(W + k Delta/K)[Delta/K]|| ~ 1/K",
        kind="fit",
        status="new",
        instances=draw_networks,
        measure=_power,
        control=Control("not renewed", functools.partial(_power, renewed=False)),
    ),
    Claim(
        name="tangent_kernel.midpoints",
        source=_SOURCE,
        statement="Renewed half way through its stage each of them counts for its square: as many "
        "gradients, and the error falls as 1/K^2.",
        formula="||f(W + Delta) - f(W) - sum_k f'(W + (k + 1/2) Delta/K)[Delta/K]|| ~ 1/K^2",
        kind="fit",
        status="new",
        instances=draw_networks,
        measure=functools.partial(_power, at=0.5),
        control=Control("not renewed", functools.partial(_power, at=0.5, renewed=False)),
    ),
)
