"""Claims: how fast the scales fall by which a deep linear network acts on what it does not learn.

Legend: as in `silent_scales` and `deep_linear.instances`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from linear_theory.claim import Evidence
from linear_theory.structure.deep_linear import silent_scales as scales
from linear_theory.structure.deep_linear.instances import (
    SOURCE,
    STEPS,
    Network,
    draw_networks,
    network_claim,
    rounding,
    silent_stretch,
)


def _recursion(network: Network) -> Evidence:
    predicted = scales.silent_scales(network.scales, network.step, network.decay, steps=STEPS)
    error = np.abs(silent_stretch(network) - predicted).max(axis=(0, 2))
    return Evidence(error, rounding(network))


def _recursion_printed(network: Network) -> Evidence:
    """The factor 1 - eta lam - prod rho_k^2, as the text has it."""
    rho = np.asarray(network.scales)
    path = [rho]
    for _ in range(STEPS):
        others = np.prod(rho**2, axis=1, keepdims=True) / rho**2
        rho = rho * (1 - (network.step * network.decay)[:, None] - others)
        path.append(rho)
    error = np.abs(silent_stretch(network) - np.stack(path)).max(axis=(0, 2))
    return Evidence(error, rounding(network))


def _bracket(bound: Callable, network: Network) -> Evidence:
    """The measured scale of the first layer after all steps, and a bound on it.

    The bounds are proved for numbers; the network's own rounding is left to them as room.
    """
    measured = silent_stretch(network)[-1, :, 0]
    return Evidence(measured, bound(network))


def _law(network: Network, squared: bool = True) -> np.ndarray:
    # Half of p is that of a depth (L + 1)/2.
    depth = len(network.layers) if squared else (len(network.layers) + 1) / 2
    law = scales.decay_law(network.scales[:, 0], depth, network.step, STEPS)
    return np.asarray(law) + rounding(network)


def _law_below(network: Network, corrected: bool = True) -> np.ndarray:
    law = scales.decay_law_below if corrected else scales.decay_law
    below = law(network.scales[:, 0], len(network.layers), network.step, STEPS)
    return np.asarray(below) - rounding(network)


def _shrinkage(network: Network, printed: bool = False) -> np.ndarray:
    eps, depth = network.scales[:, 0], len(network.layers)
    if printed:
        return eps * (1 - network.step * network.decay) ** STEPS - rounding(network)
    below = scales.shrinkage_below(eps, depth, network.step, network.decay, STEPS)
    return np.asarray(below) - rounding(network)


draw_equal = functools.partial(draw_networks, equal=True, decay=False)
draw_equal_small = functools.partial(draw_networks, equal=True, low=0.5, high=0.9)

CLAIMS = (
    network_claim(
        "silent_recursion",
        f"{SOURCE}, proof of theorem 2",
        "The scales on the silent subspaces follow a recursion of their own.",
        "rho_l <- rho_l (1 - eta lam - eta prod_{k != l} rho_k^2)",
        "identity",
        "corrected",
        draw_networks,
        _recursion,
        ("as printed, without eta before the product", _recursion_printed),
    ),
    network_claim(
        "decay_law",
        "proved in silent_scales.decay_law",
        "Without weight decay the silent scales are not frozen: they fall at least like the "
        "gradient flow's power of t.",
        "rho(t) <= (eps^-p + p eta t)^(-1/p), p = 2(L - 1)",
        "upper",
        "new",
        draw_equal,
        functools.partial(_bracket, _law),
        (
            "the product of the other scales not squared, p = L - 1",
            functools.partial(_bracket, lambda n: _law(n, squared=False)),
        ),
    ),
    network_claim(
        "decay_law_below",
        "proved in silent_scales.decay_law_below",
        "And hardly faster: the same law with the step's own factor.",
        "rho(t) >= (eps^-p + p eta t (1 - eta eps^p)^-(p+1))^(-1/p)",
        "lower",
        "new",
        draw_equal,
        functools.partial(_bracket, _law_below),
        (
            "the gradient flow's law as a lower bound",
            functools.partial(_bracket, lambda n: _law_below(n, corrected=False)),
        ),
    ),
    network_claim(
        "shrinkage",
        f"{SOURCE}, theorem 2",
        "Silent scales shrink by weight decay alone up to eps^p, which vanishes with depth for "
        "eps < 1.",
        "rho(t) >= eps (1 - eta lam - eta eps^p)^t",
        "lower",
        "corrected",
        draw_equal_small,
        functools.partial(_bracket, _shrinkage),
        (
            "as printed, rho(t) = eps (1 - eta lam)^t",
            functools.partial(_bracket, lambda n: _shrinkage(n, printed=True)),
        ),
    ),
)
