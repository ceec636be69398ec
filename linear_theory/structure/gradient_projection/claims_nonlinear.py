"""Claims: the rank of gradients in networks that are not linear, and of no special form.

Legend: f(x) = A s(W x) with K outputs, K below the width d and the inputs' dimension; G the
gradient of the squared error of N > K samples in W; s_1 >= s_2 >= ... its singular values; t the
size of W, and so of what goes into s.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import generator

OUTPUTS, WIDTH, INPUTS, SAMPLES = 2, 6, 5, 12
SIZES = (1e-4, 1e-5)


class Network(NamedTuple):
    """first W (n, 6, 5), last A (n, 2, 6), inputs (n, 5, 12), targets (n, 2, 12)."""

    first: np.ndarray
    last: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


def draw_networks(key, trials: int) -> Network:
    """Gaussian arrays.

    Example:
      >>> import jax
      >>> draw_networks(jax.random.key(0), 2).first.shape
      (2, 6, 5)
    """
    rng = generator(key)
    shapes = (WIDTH, INPUTS), (OUTPUTS, WIDTH), (INPUTS, SAMPLES), (OUTPUTS, SAMPLES)
    return Network(*(rng.standard_normal((trials, *shape)) for shape in shapes))


def _tanh(inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.tanh(inner), 1 - np.tanh(inner) ** 2


def _relu(inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(inner, 0), (inner > 0) * 1.0


def _beyond(network: Network, activation=_tanh) -> Evidence:
    """The power of t in s_{K+1}/s_1, read off two sizes."""
    shares = []
    for size in SIZES:
        hidden, slope = activation(size * network.first @ network.inputs)
        error = network.last @ hidden - network.targets
        gradient = (slope * (network.last.mT @ error)) @ network.inputs.mT
        values = np.linalg.svd(gradient, compute_uv=False)
        shares.append(values[:, OUTPUTS] / values[:, 0])
    # Where the term in t^2 does not nearly vanish.
    measurable = shares[1] > 0.1 * SIZES[1] ** 2
    return Evidence(measured_power(shares, SIZES), 2.0, measurable, 0.1)


CLAIMS = (
    Claim(
        name="gradient_projection.nonlinear",
        source="arXiv 2503.19859, section 5, open question; derived here",
        statement="A smooth network of no special form has gradients of rank K up to the square of "
        "what goes into its nonlinearity, with any number of samples: small weights are enough, "
        "where GaLore's lemma asks for reversible networks. With kinks there is no such size.",
        formula="s_{K+1}(G)/s_1(G) ~ t^2",
        kind="fit",
        status="new",
        instances=draw_networks,
        measure=_beyond,
        control=Control("ReLU", functools.partial(_beyond, activation=_relu)),
    ),
)
