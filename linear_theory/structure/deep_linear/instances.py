"""Deep linear networks at an orthogonal start: the instances of the claims about them.

Legend: as in `deep_linear`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from linear_theory.instances.random_matrices import (
    generator,
    norm,
    orthogonal,
    shares,
    with_values,
)
from linear_theory.structure.deep_linear import theory as deep

SOURCE = "arXiv 2503.19859"
# Depth, width d, rank r, one row per group of instances.
SHAPES = ((2, 9, 3), (3, 10, 2), (4, 8, 1), (5, 9, 2), (6, 8, 3))
STEPS = 40
WIDE_ROWS = 3
# Rounding of one product of L factors of width d is L d eps, relative; each step adds a few, and
# a stable descent does not amplify them. Scales are about 1.
ROUNDING = np.finfo(np.float64).eps


class Network(NamedTuple):
    """A group of networks of one depth at their start.

    Attributes:
      layers: L arrays (n, d, d), W_l^T W_l = eps_l^2 I; the last is (n, k, d) if wide.
      target: Phi (n, d, d) or (n, k, d).
      scales: eps (n, L).
      step: eta (n,). decay: lam (n,).
      rank: r.
    """

    layers: deep.Layers
    target: np.ndarray
    scales: np.ndarray
    step: np.ndarray
    decay: np.ndarray
    rank: int


def draw_networks(
    key, trials: int, low=0.5, high=1.1, equal=False, decay=True, gaussian=False, wide=False
) -> list[Network]:
    """Networks of depths 2 to 6 with scaled orthogonal layers, a random target of rank r.

    Args:
      key: a typed JAX key. trials: number of instances.
      low, high: range of the scales.
      equal: one scale for all layers of a network.
      decay: weight decay in about half of the instances, or in none.
      gaussian: Gaussian layers of the same mean square instead of orthogonal ones.
      wide: a last layer (k, d), k = 3, and a target of that shape.

    Example:
      >>> import jax
      >>> [n.scales.shape for n in draw_networks(jax.random.key(0), 6)]
      [(2, 2), (1, 3), (1, 4), (1, 5), (1, 6)]
    """
    rng = generator(key)
    networks = []
    for (depth, dim, rank), count in zip(SHAPES, shares(trials, len(SHAPES)), strict=True):
        if not count:
            continue
        eps = rng.uniform(low, high, (count, depth))
        if equal:
            eps = np.repeat(eps[:, :1], depth, axis=1)
        rows = [dim] * (depth - 1) + [WIDE_ROWS if wide else dim]
        layers = tuple(
            eps[:, layer, None, None] * _start(rng, gaussian, count, rows[layer], dim)
            for layer in range(depth)
        )
        values = rng.uniform(0.4, 1.5, (count, WIDE_ROWS if wide else rank))
        lam = (rng.uniform(size=count) < 0.5) * decay * 10 ** rng.uniform(-3, -0.5, count)
        # Curvature is at most about L max(eps^p, s^(p/L)).
        largest = np.maximum(eps.max(axis=1), values.max(axis=1) ** (1 / depth))
        step = rng.uniform(0.1, 0.5, count) / (depth * largest ** (2 * depth - 2) + lam)
        target = with_values(rng, values, rows[-1], dim)
        networks.append(Network(layers, target, eps, step, lam, rank))
    return networks


def _start(rng, gaussian: bool, count: int, rows: int, dim: int) -> np.ndarray:
    if gaussian:
        return rng.standard_normal((count, rows, dim)) / np.sqrt(dim)
    return orthogonal(rng, count, rows, dim)


def trained(network: Network) -> list[np.ndarray]:
    """The layers at steps 0..STEPS, (STEPS + 1, n, d, d) each."""
    path = deep.descend(*network[:2], network.step, network.decay, steps=STEPS)
    return [np.asarray(layer) for layer in path]


def rounding(network: Network) -> np.ndarray:
    """What rounding explains: `ROUNDING` of L d per step, for layers and targets of unit size."""
    dim = network.target.shape[-1]
    size = np.maximum(1, network.scales.max(axis=1)) ** (2 * len(network.layers))
    return ROUNDING * STEPS * len(network.layers) * dim * size


def worst(errors: list[np.ndarray]) -> np.ndarray:
    """The largest Frobenius norm over layers and steps, (n,)."""
    return np.max([norm(error).max(axis=0) for error in errors], axis=0)


def silent(network: Network) -> list[np.ndarray]:
    """`deep_linear.silent_bases` at the start."""
    return deep.silent_bases(network.layers, network.target, network.rank)


def silent_stretch(network: Network) -> np.ndarray:
    """rho_l(t) as the mean stretch of the silent directions, (STEPS + 1, n, L)."""
    bases = silent(network)
    stretches = [
        np.sum((layer @ basis) * image, axis=-2).mean(axis=-1)
        for layer, basis, image in zip(trained(network), bases, bases[1:], strict=False)
    ]
    return np.stack(stretches, axis=-1)
