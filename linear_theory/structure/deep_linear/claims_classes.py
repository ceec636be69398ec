"""Claims: layer by layer, features of one class come together.

Legend: W_l (d, d) layers from the start W_l = eps Q_l, Q_l orthogonal, trained on inputs X with
orthonormal columns, d/K of each of K classes, to give the one-hot labels Y, whose K singular values
are all s = (d/K)^{1/2}; h_l = W_l ... W_1 X the features; D_l the energy of h_l about the means of
the classes over that of these means about their own.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, orthogonal, squared_norm

WIDTH, CLASSES, DEPTH = 8, 2, 3
STEPS, STEP_SIZE = 400, 0.1
LABELS = np.repeat(np.eye(CLASSES), WIDTH // CLASSES, axis=1)  # (K, d)


class Network(NamedTuple):
    """layers: L arrays (n, 8, 8); inputs X (n, 8, 8); scale eps (n,)."""

    layers: list[np.ndarray]
    inputs: np.ndarray
    scale: np.ndarray


def draw_networks(key, trials: int, gaussian: bool = False) -> Network:
    """Scales from .05 to .3; Gaussian layers have the same mean square.

    Example:
      >>> import jax
      >>> draw_networks(jax.random.key(0), 2).inputs.shape
      (2, 8, 8)
    """
    rng = generator(key)
    scale = rng.uniform(0.05, 0.3, trials)
    shape = (DEPTH, trials, WIDTH, WIDTH)
    start = rng.standard_normal(shape) / WIDTH**0.5 if gaussian else orthogonal(rng, *shape)
    return Network(list(scale[:, None, None] * start), orthogonal(rng, *shape[1:]), scale)


def _features(layers: list[np.ndarray], inputs: np.ndarray) -> list[np.ndarray]:
    features = [inputs]
    for layer in layers:
        features.append(layer @ features[-1])
    return features


def _trained(network: Network) -> list[np.ndarray]:
    """The layers after descent on 1/2 ||h_L - Y||^2, Y with rows of zeros below."""
    targets = np.concatenate([LABELS, np.zeros((WIDTH - CLASSES, WIDTH))])
    layers = network.layers
    for _ in range(STEPS):
        features = _features(layers, network.inputs)
        back, moved = features[-1] - targets, []
        for layer, before in zip(layers[::-1], features[-2::-1], strict=True):
            moved.append(layer - STEP_SIZE * back @ before.mT)
            back = layer.mT @ back
        layers = moved[::-1]
    return layers


def _spread(features: np.ndarray) -> np.ndarray:
    """D_l, (n,)."""
    means = features @ LABELS.T / (WIDTH // CLASSES)
    between = squared_norm(means - means.mean(axis=2, keepdims=True)) * WIDTH / CLASSES
    return squared_norm(features - means @ LABELS) / between


def _compressed(network: Network) -> Evidence:
    """D_l against D_{l-1} times the rate, l = 1, ..., L."""
    features = _features(_trained(network), network.inputs)
    spreads = np.stack([_spread(one) for one in features], axis=1)
    rate = network.scale[:, None] ** 2 / (WIDTH / CLASSES) ** (1 / DEPTH)
    return Evidence(spreads[:, 1:], rate * spreads[:, :-1])


CLAIMS = (
    Claim(
        name="deep_linear.compressed",
        source="arXiv 2311.02960; arXiv 2503.19859, section 3, background",
        statement="After training from a small orthogonal start every layer lowers the spread of "
        "the classes by the same factor, since it keeps the directions within them at the scale "
        "of the start and those between them at the scale of the target.",
        formula="D_l <= (eps/s^{1/L})^2 D_{l-1}",
        kind="upper",
        status="with a condition",
        instances=draw_networks,
        measure=_compressed,
        control=Control(
            "a Gaussian start", _compressed, functools.partial(draw_networks, gaussian=True)
        ),
    ),
)
