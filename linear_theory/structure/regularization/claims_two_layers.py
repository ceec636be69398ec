"""Claims: the energy of L linear layers, and weight decay on two of them.

Legend: as in `regularization`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm, per_group, transpose
from linear_theory.structure.deep_linear import theory as deep
from linear_theory.structure.regularization import theory as reg
from linear_theory.structure.regularization.instances import (
    COLUMNS,
    SOURCE,
    WIDTH,
    Decayed,
    against,
    as_two_layers,
    draw_decayed,
    energy,
)

# Linearised at the minimiser, a sweep of alternating steps multiplies deviations by (phi/lam)^2 for
# values that end at 0 and by (1 - lam/phi_i - lam/phi_j)^2 for pairs of others. With |phi/lam - 1|
# above CLEAR and lam/phi above RIDGE these are at most 0.73, and 120 sweeps take them to 1e-16.
CLEAR, RIDGE, SWEEPS = 0.15, 0.1, 120
EPS = np.finfo(np.float64).eps


def _attained(group: Decayed, inverted: bool = False) -> Evidence:
    layers = reg.balanced_layers(group.generator(), group.target, group.depth, WIDTH)
    least = np.asarray(reg.least_energy(group.values, group.depth))
    least = least * (2 / group.depth) ** 2 if inverted else least
    spent = energy(layers)
    error = np.maximum(abs(spent - least), norm(deep.product(layers) - group.target))
    return Evidence(error, 50 * EPS * group.depth * spent)


def _bounded(group: Decayed, depth_shift: int = 0) -> Evidence:
    """Other factorisations of the target: W_l -> A_l W_l A_{l-1}^-1, from near to far."""
    rng = group.generator()
    layers = list(reg.balanced_layers(rng, group.target, group.depth, WIDTH))
    count = len(group.target)
    size = 10 ** rng.uniform(-3, -0.5, (count, 1, 1))
    for index in range(group.depth - 1):
        mixing = np.eye(WIDTH) + size * rng.standard_normal((count, WIDTH, WIDTH)) / np.sqrt(WIDTH)
        layers[index] = mixing @ layers[index]
        layers[index + 1] = layers[index + 1] @ np.linalg.inv(mixing)
    power = np.asarray(reg.schatten_power(group.values, group.depth))
    return Evidence(energy(layers), (group.depth + depth_shift) / 2 * power)


def _halved(group: Decayed) -> np.ndarray:
    return np.asarray(reg.soft_threshold(group.values, group.decay[:, None] / 2))


def _reached(group: Decayed, threshold: float = 1.0) -> Evidence:
    """Alternating least squares with a ridge from a Gaussian start."""
    decay, target = np.maximum(group.decay, RIDGE * group.values[:, 0]), group.target
    first = group.generator().standard_normal((len(target), WIDTH, COLUMNS))
    ridge = decay[:, None, None] * np.eye(WIDTH)
    for _ in range(SWEEPS):
        normal = first @ transpose(first) + ridge
        second = transpose(np.linalg.solve(normal, first @ transpose(target)))
        normal = transpose(second) @ second + ridge
        first = np.linalg.solve(normal, transpose(second) @ target)
    values = np.linalg.svd(second @ first, compute_uv=False)
    predicted = np.asarray(reg.soft_threshold(group.values, threshold * decay[:, None]))
    clear = np.abs(group.values / decay[:, None] - 1).min(axis=1) > CLEAR
    # A solve rounds by the condition number of its matrix, at most 1 + phi_1/lam.
    rounding = 10 * EPS * group.values[:, 0] / RIDGE
    return Evidence(np.abs(values - predicted).max(axis=1), rounding, clear)


draw_two = functools.partial(draw_decayed, depths=(2,))

CLAIMS = (
    Claim(
        name="regularization.variational_schatten",
        source=f"{SOURCE}, corollary 1",
        statement="The least energy of L layers with a given product is a Schatten quasi-norm, and "
        "balanced layers attain it.",
        formula="min 1/2 sum ||W_l||^2 = (L/2) ||M||_{2/L}^{2/L}",
        kind="identity",
        status="corrected",
        instances=draw_decayed,
        measure=per_group(_attained),
        control=Control("as printed, 2/L", per_group(lambda g: _attained(g, inverted=True))),
    ),
    Claim(
        name="regularization.variational_bound",
        source=f"{SOURCE}, corollary 1",
        statement="No other factorisation has less energy.",
        formula="1/2 sum ||W_l||^2 >= (L/2) ||W_L ... W_1||_{2/L}^{2/L}",
        kind="lower",
        status="corrected",
        instances=draw_decayed,
        measure=per_group(_bounded),
        control=Control("constant (L + 1)/2", per_group(lambda g: _bounded(g, 1))),
    ),
    Claim(
        name="regularization.two_layers",
        source=f"{SOURCE}, (26) for L = 2",
        statement="Two layers with weight decay: the soft threshold at lam is the global minimum "
        "of the objective with 1/2 before the loss.",
        formula="objective >= sum 1/2 (s - phi)^2 + lam s at s = (phi - lam)_+",
        kind="lower",
        status="with a condition",
        instances=draw_two,
        measure=per_group(functools.partial(against, values=as_two_layers)),
        control=Control(
            "threshold lam/2, that of the loss without 1/2",
            per_group(functools.partial(against, values=_halved)),
        ),
    ),
    Claim(
        name="regularization.two_layers_reached",
        source=f"{SOURCE}, (26) for L = 2",
        statement="Alternating ridge regression from a Gaussian start ends in the soft threshold.",
        formula="sigma(W_2 W_1) = (phi - lam)_+, |phi/lam - 1| > 0.15",
        kind="identity",
        status="with a condition",
        instances=draw_two,
        measure=per_group(_reached),
        control=Control("threshold lam/2", per_group(lambda g: _reached(g, 0.5))),
    ),
)
