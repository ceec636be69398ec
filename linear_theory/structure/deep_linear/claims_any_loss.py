"""Claims: invariant subspaces of deep factors under the loss of a network, as in fine-tuning.

Legend: P = W_L ... W_1 (d, d) in the place of a layer's change, W_l(0) = eps Q_l with Q_l
orthogonal; X (d, N) what comes into the layer, V (K, d) what follows it; the loss is the
cross-entropy of V P X. S the vectors v with X^T v = 0 and V P(0) v = 0, of dimension d - N - K at
least; v_0 = v in S, v_l = W_l(0) v_{l-1}/eps.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm, orthogonal

WIDTH, OUTPUTS, SAMPLES, DEPTH = 8, 2, 3, 3
STEPS, STEP_SIZE = 30, 0.1
EPS = np.finfo(np.float64).eps


class Network(NamedTuple):
    """layers: L arrays (n, 8, 8); inputs X (n, 8, 3); last V (n, 2, 8); labels (n, 3)."""

    layers: list[np.ndarray]
    inputs: np.ndarray
    last: np.ndarray
    labels: np.ndarray


def draw_networks(key, trials: int, gaussian: bool = False) -> Network:
    """Scales from .5 to 1, all else Gaussian; Gaussian layers have the same mean square.

    Example:
      >>> import jax
      >>> draw_networks(jax.random.key(0), 2).labels.shape
      (2, 3)
    """
    rng = generator(key)
    shape = (DEPTH, trials, WIDTH, WIDTH)
    start = rng.standard_normal(shape) / WIDTH**0.5 if gaussian else orthogonal(rng, *shape)
    return Network(
        list(rng.uniform(0.5, 1, (trials, 1, 1)) * start),
        rng.standard_normal((trials, WIDTH, SAMPLES)) / WIDTH**0.5,
        rng.standard_normal((trials, OUTPUTS, WIDTH)) / WIDTH**0.5,
        rng.integers(OUTPUTS, size=(trials, SAMPLES)),
    )


def _product(layers: list[np.ndarray]) -> np.ndarray:
    return functools.reduce(lambda done, layer: layer @ done, layers)


def _trained(network: Network) -> list[np.ndarray]:
    layers, identity = network.layers, np.eye(WIDTH)[None]
    wanted = np.moveaxis(np.eye(OUTPUTS)[network.labels], 1, 2)
    for _ in range(STEPS):
        values = network.last @ _product(layers) @ network.inputs
        chances = np.exp(values - values.max(axis=1, keepdims=True))
        error = chances / chances.sum(axis=1, keepdims=True) - wanted
        slope = network.last.mT @ error @ network.inputs.mT  # in the product
        after = [_product([identity, *layers[k + 1 :]]) for k in range(DEPTH)]
        before = [_product([identity, *layers[:k]]) for k in range(DEPTH)]
        layers = [
            layer - STEP_SIZE * after[k].mT @ slope @ before[k].mT for k, layer in enumerate(layers)
        ]
    return layers


def _silent(network: Network, both: bool = True) -> Evidence:
    """What W_l moves of v_{l-1}, and its transpose of v_l, over all of S and all layers."""
    seen = [network.inputs.mT, network.last @ _product(network.layers)]
    seen = np.concatenate(seen if both else seen[:1], axis=1)
    basis = np.linalg.svd(seen)[2][:, seen.shape[1] :].mT
    moved = []
    for start, end in zip(network.layers, _trained(network), strict=True):
        image = start @ basis
        image, before = image / np.linalg.norm(image, axis=1, keepdims=True), basis
        moved += [norm((end - start) @ before), norm((end - start).mT @ image)]
        basis = image
    return Evidence(np.max(moved, axis=0), 20 * EPS * STEPS)


CLAIMS = (
    Claim(
        name="deep_linear.any_loss",
        source="arXiv 2503.19859, section 3.2, figure 4; derived here",
        statement="Deep factors that are trained within a network, by any loss: from an orthogonal "
        "start descent leaves every factor alone on a subspace of all but as many dimensions as "
        "there are samples and outputs, in both directions.",
        formula="W_l(t) v_{l-1} = eps v_l, W_l(t)^T v_l = eps v_{l-1} for all v in S, t, l",
        kind="identity",
        status="new",
        instances=draw_networks,
        measure=_silent,
        control=Control(
            "a Gaussian start", _silent, functools.partial(draw_networks, gaussian=True)
        ),
    ),
)
