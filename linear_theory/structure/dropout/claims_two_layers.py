"""Claims: dropout after two hidden layers, where the nuclear norm is only a lower bound.

Legend: as in `dropout`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import orthogonal, per_group, squared_norm
from linear_theory.structure.dropout import theory as dropout
from linear_theory.structure.dropout.instances import (
    INPUTS,
    OUTPUTS,
    ROUNDING,
    SOURCE,
    Masked,
    draw_masked,
    masks,
    random_layers,
)


def _enumeration(group: Masked, double: bool = True) -> Evidence:
    width, keep = group.width, group.keep
    layers = random_layers(group, width, width, OUTPUTS)
    drawn, chance = masks(width, keep)
    scaled = drawn[:, None, None, :] / keep[:, None, None]
    hidden = layers[0] @ group.inputs
    inner = (layers[1] * scaled) @ hidden  # one entry per first mask
    outer = layers[2] * scaled  # and per second mask
    losses = squared_norm(group.targets - outer[:, None] @ inner[None])
    exact = np.sum(chance[:, None] * chance[None] * losses, axis=(0, 1))
    formula = np.asarray(dropout.expected_loss_two(tuple(layers), *group[1:4]))
    if not double:
        heads = np.sum(layers[2] ** 2, axis=1)[:, :, None] * layers[1] ** 2
        both = np.sum(heads * np.sum(hidden**2, axis=2)[:, None, :], axis=(1, 2))
        formula = formula - ((1 - keep) / keep) ** 2 * both
    return Evidence(np.abs(exact - formula), ROUNDING * exact)


def _values(group: Masked) -> np.ndarray:
    """Singular values of Y P_X and the energy of Y outside."""
    right = np.linalg.svd(group.inputs, full_matrices=False)[2]
    inside = group.targets @ np.swapaxes(right, 1, 2)
    outside = squared_norm(group.targets) - squared_norm(inside)
    return np.linalg.svd(inside, compute_uv=False), outside


def _bound(group: Masked, widths: bool = True) -> np.ndarray:
    values, outside = _values(group)
    width = group.width if widths else 1
    weight = np.asarray(dropout.nuclear_weight(group.keep, width, 2))
    shrunk = dropout.squared_nuclear_values(values, weight, group.width)
    return np.asarray(dropout.squared_nuclear_objective(shrunk, values, weight)) + outside


def _equal_rank_one(group: Masked, spread: bool = True) -> tuple[np.ndarray, ...]:
    """Layers whose product is the best shrunk first component, with all units alike, or one."""
    width = group.width
    right = np.linalg.svd(group.inputs, full_matrices=False)[2]
    visible = group.targets @ np.swapaxes(right, 1, 2) @ right
    left, values, rows = np.linalg.svd(visible, full_matrices=False)
    weight = np.asarray(dropout.nuclear_weight(group.keep, width, 2))
    root = (values[:, 0] / (1 + weight)) ** (1 / 3)
    unit = np.ones(width) / np.sqrt(width) if spread else np.eye(width)[0]
    root = root[:, None, None]
    first = root * unit[:, None] * (rows[:, :1] @ np.linalg.pinv(group.inputs))
    second = root * np.outer(unit, unit)
    return first, second, root * left[:, :, :1] * unit


def _lower(group: Masked, widths: bool = True) -> Evidence:
    layers = _equal_rank_one(group)
    rng = group.generator()
    size = 10 ** rng.uniform(-4, 0, (len(group.keep), 1, 1))
    layers = tuple(layer + size * rng.standard_normal(layer.shape) for layer in layers)
    loss = np.asarray(dropout.expected_loss_two(layers, *group[1:4]))
    return Evidence(loss, _bound(group, widths))


def draw_rank_one(key, trials):
    """Targets of rank one inside the row space of X.

    Example:
      >>> import jax
      >>> len(draw_rank_one(jax.random.key(0), 3))
      3
    """
    groups = []
    for group in draw_masked(key, trials, widths=(2, 3, 5, 8)):
        count = len(group.keep)
        rng = np.random.default_rng([group.seed, 1])  # not what the measure draws
        left = orthogonal(rng, count, OUTPUTS, 1) * rng.uniform(0.5, 3, (count, 1, 1))
        row = rng.standard_normal((count, 1, INPUTS)) @ group.inputs
        row = row / np.sqrt(squared_norm(row))[:, None, None]
        groups.append(group._replace(targets=left @ row))
    return groups


def _attained(group: Masked, spread: bool = True) -> Evidence:
    layers = _equal_rank_one(group, spread)
    loss = np.asarray(dropout.expected_loss_two(layers, *group[1:4]))
    return Evidence(np.abs(loss - _bound(group)), ROUNDING * squared_norm(group.targets))


draw_narrow = functools.partial(draw_masked, widths=(2, 3, 4))

CLAIMS = (
    Claim(
        name="dropout.expectation_two",
        source=f"{SOURCE}, appendix A; dropout.expected_loss_two",
        statement="The expected loss with dropout after two hidden layers, by enumeration.",
        formula="||Y - Z||^2 + q pen(W_3, W_2 H) + q pen(W_3 W_2, H) + q^2 (...)",
        kind="identity",
        status="new",
        instances=draw_narrow,
        measure=per_group(_enumeration),
        control=Control(
            "without the term in q^2", per_group(functools.partial(_enumeration, double=False))
        ),
    ),
    Claim(
        name="dropout.lower_bound_two",
        source="proved in dropout.nuclear_weight",
        statement="Two dropout layers penalise at least as much as one of a larger weight.",
        formula="E loss >= min_Z ||Y - Z||^2 + nu ||Z||_*^2, nu = (1 + (1-mu)/(mu d))^2 - 1",
        kind="lower",
        status="new",
        instances=draw_masked,
        measure=per_group(_lower),
        control=Control(
            "without the width, nu = mu^-2 - 1",
            per_group(functools.partial(_lower, widths=False)),
            draw_rank_one,
        ),
    ),
    Claim(
        name="dropout.attained_two",
        source="proved in dropout.nuclear_weight",
        statement="For targets of rank one the bound is attained by layers whose units are alike.",
        formula="min E loss = min_Z ||Y - Z||^2 + nu ||Z||_*^2, rank(Y P_X) = 1",
        kind="identity",
        status="new",
        instances=draw_rank_one,
        measure=per_group(_attained),
        control=Control(
            "one unit per layer in use", per_group(functools.partial(_attained, spread=False))
        ),
    ),
)
