"""Claims: how fast the scales fall by which a deep linear network acts on what it does not learn.

Legend: as in `silent_scales` and `deep_linear.instances`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import per_group
from linear_theory.structure.deep_linear import silent_scales as scales
from linear_theory.structure.deep_linear.instances import (
    SOURCE,
    STEPS,
    Network,
    draw_networks,
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
    Claim(
        name="deep_linear.silent_recursion",
        source=f"{SOURCE}, proof of theorem 2",
        statement="The scales on the silent subspaces follow a recursion of their own.",
        formula="rho_l <- rho_l (1 - eta lam - eta prod_{k != l} rho_k^2)",
        kind="identity",
        status="corrected",
        instances=draw_networks,
        measure=per_group(_recursion),
        control=Control(
            "as printed, without eta before the product", per_group(_recursion_printed)
        ),
    ),
    Claim(
        name="deep_linear.decay_law",
        source="proved in silent_scales.decay_law",
        statement="Without weight decay the silent scales are not frozen: they fall at least like "
        "the gradient flow's power of t.",
        formula="rho(t) <= (eps^-p + p eta t)^(-1/p), p = 2(L - 1)",
        kind="upper",
        status="new",
        instances=draw_equal,
        measure=per_group(functools.partial(_bracket, _law)),
        control=Control(
            "the product of the other scales not squared, p = L - 1",
            per_group(functools.partial(_bracket, lambda n: _law(n, squared=False))),
        ),
    ),
    Claim(
        name="deep_linear.decay_law_below",
        source="proved in silent_scales.decay_law_below",
        statement="And hardly faster: the same law with the step's own factor.",
        formula="rho(t) >= (eps^-p + p eta t (1 - eta eps^p)^-(p+1))^(-1/p)",
        kind="lower",
        status="new",
        instances=draw_equal,
        measure=per_group(functools.partial(_bracket, _law_below)),
        control=Control(
            "the gradient flow's law as a lower bound",
            per_group(functools.partial(_bracket, lambda n: _law_below(n, corrected=False))),
        ),
    ),
    Claim(
        name="deep_linear.shrinkage",
        source=f"{SOURCE}, theorem 2",
        statement="Silent scales shrink by weight decay alone up to eps^p, which vanishes with "
        "depth for eps < 1.",
        formula="rho(t) >= eps (1 - eta lam - eta eps^p)^t",
        kind="lower",
        status="corrected",
        instances=draw_equal_small,
        measure=per_group(functools.partial(_bracket, _shrinkage)),
        control=Control(
            "as printed, rho(t) = eps (1 - eta lam)^t",
            per_group(functools.partial(_bracket, lambda n: _shrinkage(n, printed=True))),
        ),
    ),
)
