"""Claims: dropout in one hidden layer is a squared nuclear norm over the width.

Legend: as in `dropout`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import (
    generator,
    per_group,
    squared_norm,
    transpose,
    with_values,
)
from linear_theory.structure.dropout import theory as dropout
from linear_theory.structure.dropout.instances import (
    OUTPUTS,
    ROUNDING,
    SAMPLES,
    SOURCE,
    Masked,
    draw_masked,
    masks,
    random_layers,
)


def _enumeration(group: Masked, rescaled: bool = True) -> Evidence:
    first, second = random_layers(group, group.width, OUTPUTS)
    drawn, chance = masks(group.width, group.keep)
    scaled = drawn[:, None, None, :] / group.keep[:, None, None]
    losses = squared_norm(group.targets - (second * scaled) @ (first @ group.inputs))
    exact = np.sum(chance * losses, axis=0)
    formula = np.asarray(dropout.expected_loss(first, second, *group[1:4]))
    if not rescaled:
        loss = squared_norm(group.targets - second @ first @ group.inputs)
        formula = loss + group.keep * (formula - loss)
    return Evidence(np.abs(exact - formula), ROUNDING * exact)


def _penalty(group: Masked, printed: bool = False) -> Evidence:
    """Factors of random matrices: with equal units, these mixed a little, and any."""
    rng, width, count = group.generator(), group.width, len(group.keep)
    rank = min(width, OUTPUTS)
    target = with_values(rng, rng.uniform(0.2, 3, (count, rank)), OUTPUTS, SAMPLES)
    left, right = _equal(target, width)
    size = 10 ** rng.uniform(-4, 0, (count, 1, 1))
    mixing = np.eye(width) + size * rng.standard_normal((count, width, width))
    left, right = left @ mixing, np.linalg.inv(mixing) @ right
    nuclear = np.linalg.svd(target, compute_uv=False).sum(axis=1)
    bound = nuclear**2 / (1 if printed else width)
    return Evidence(np.asarray(dropout.dropout_penalty(left, right)), bound)


def _equal(targets: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = [dropout.equal_factors(target, width) for target in targets]
    return np.stack([left for left, _ in pairs]), np.stack([right for _, right in pairs])


class Optimum(NamedTuple):
    """The solution of a nuclear-norm problem: its value, and factors of its minimiser."""

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray


def _optimum(group: Masked, weight: np.ndarray, rank: int, projected: bool = True) -> Optimum:
    """min ||Y - Z||^2 + nu ||Z||_*^2, over Z with rows in row(X) if `projected`."""
    right = np.linalg.svd(group.inputs, full_matrices=False)[2]
    visible = group.targets @ transpose(right) @ right if projected else group.targets
    left, values, rows = np.linalg.svd(visible, full_matrices=False)
    shrunk = np.asarray(dropout.squared_nuclear_values(values, weight, rank))
    value = np.asarray(dropout.squared_nuclear_objective(shrunk, values, weight))
    value = value + squared_norm(group.targets - visible)
    # Factors of the best minimiser that the width can hold; the penalty sees the units alone.
    constrained = np.where(np.arange(shrunk.shape[1]) < group.width, shrunk, 0)
    second, hidden = _equal(left * constrained[:, None, :] @ rows, group.width)
    return Optimum(value, hidden @ np.linalg.pinv(group.inputs), second)


def _weight(group: Masked, printed: bool = False) -> np.ndarray:
    return np.asarray(dropout.nuclear_weight(group.keep, 1 if printed else group.width))


def _attained(group: Masked, projected: bool = True, constrained: bool = True) -> Evidence:
    rank = group.width if constrained else OUTPUTS
    best = _optimum(group, _weight(group), rank, projected)
    loss = np.asarray(dropout.expected_loss(best.first, best.second, *group[1:4]))
    return Evidence(np.abs(loss - best.value), ROUNDING * squared_norm(group.targets))


def _attained_by_rate(group: Masked, adapted: bool = True) -> Evidence:
    """One weight (1-p)/p for every width, by the keep rate mu(d)."""
    rate = np.asarray(dropout.keep_rate(group.keep, group.width)) if adapted else group.keep
    best = _optimum(group, _weight(group, printed=True), group.width)
    loss = np.asarray(dropout.expected_loss(best.first, best.second, *group[1:3], rate))
    return Evidence(np.abs(loss - best.value), ROUNDING * squared_norm(group.targets))


def _minimum(group: Masked, printed: bool = False) -> Evidence:
    """The expected loss at perturbed optimal layers."""
    best = _optimum(group, _weight(group), group.width)
    claimed = _optimum(group, _weight(group, printed), group.width).value
    rng = group.generator()
    size = 10 ** rng.uniform(-4, 0, (len(claimed), 1, 1))
    first, second = (layer + size * rng.standard_normal(layer.shape) for layer in best[1:])
    loss = np.asarray(dropout.expected_loss(first, second, *group[1:4]))
    return Evidence(loss, claimed)


def draw_matrices(key, trials: int):
    """(s, nu, direction): singular values (n, 6), weights (n,), Gaussian matrices (n, 6, 6).

    Example:
      >>> import jax
      >>> [part.shape for part in draw_matrices(jax.random.key(0), 2)]
      [(2, 6), (2,), (2, 6, 6)]
    """
    rng = generator(key)
    values = np.sort(rng.exponential(1, (trials, SAMPLES)), axis=1)[:, ::-1]
    size = 10 ** rng.uniform(-4, 0, (trials, 1, 1))
    directions = size * rng.standard_normal((trials, SAMPLES, SAMPLES))
    return values, 10 ** rng.uniform(-1.5, 1, trials), directions


def _minimiser(matrices, counted_all: bool = False) -> Evidence:
    values, weight, direction = matrices
    best = np.asarray(dropout.squared_nuclear_values(values, weight, SAMPLES))
    claimed = best
    if counted_all:
        tau = weight * values.sum(axis=1) / (1 + SAMPLES * weight)
        claimed = np.maximum(values - tau[:, None], 0)
    near = best[:, None, :] * np.eye(SAMPLES) + direction
    nuclear = np.linalg.svd(near, compute_uv=False).sum(axis=1)
    measured = squared_norm(values[:, None, :] * np.eye(SAMPLES) - near) + weight * nuclear**2
    return Evidence(
        measured, np.asarray(dropout.squared_nuclear_objective(claimed, values, weight))
    )


draw_wide = functools.partial(draw_masked, widths=(4, 5, 6, 8))


CLAIMS = (
    Claim(
        name="dropout.expectation",
        source=f"{SOURCE}, (32)",
        statement="The expected loss under dropout, by enumeration of all masks.",
        formula="E ||Y - W_2 diag(z/mu) W_1 X||^2 = ||Y - W_2 W_1 X||^2 "
        "+ (1-mu)/mu sum_i ||W_2 e_i||^2 ||e_i^T W_1 X||^2",
        kind="identity",
        status="as printed",
        instances=draw_masked,
        measure=per_group(_enumeration),
        control=Control(
            "factor 1 - mu", per_group(functools.partial(_enumeration, rescaled=False))
        ),
    ),
    Claim(
        name="dropout.penalty_bound",
        source=f"{SOURCE}, (33)",
        statement="The penalty is at least the squared nuclear norm over the width.",
        formula="sum_i ||left_i||^2 ||right_i||^2 >= ||left right||_*^2 / d",
        kind="lower",
        status="corrected",
        instances=draw_masked,
        measure=per_group(_penalty),
        control=Control(
            "as printed, ||Z||_*^2", per_group(functools.partial(_penalty, printed=True))
        ),
    ),
    Claim(
        name="dropout.minimum",
        source=f"{SOURCE}, (33)",
        statement="The least expected loss at a fixed keep rate vanishes to least squares with "
        "the width.",
        formula="E loss >= min_Z ||Y - Z||^2 + (1-mu)/(mu d) ||Z||_*^2, rank(Z) <= d, row(Z) in "
        "row(X)",
        kind="lower",
        status="corrected",
        instances=draw_masked,
        measure=per_group(_minimum),
        control=Control(
            "as printed, (1-mu)/mu", per_group(functools.partial(_minimum, printed=True))
        ),
    ),
    Claim(
        name="dropout.attained",
        source=f"{SOURCE}, (33)",
        statement="Layers with equal units attain it; Z is confined to the row space of X.",
        formula="min E loss = min_Z ||Y P_X - Z||^2 + (1-mu)/(mu d) ||Z||_*^2 + ||Y (I - P_X)||^2",
        kind="identity",
        status="with a condition",
        instances=draw_wide,
        measure=per_group(_attained),
        control=Control(
            "Y in place of Y P_X", per_group(functools.partial(_attained, projected=False))
        ),
    ),
    Claim(
        name="dropout.width",
        source=f"{SOURCE}, (33)",
        statement="Below the rank of the minimiser the width is a constraint on the rank.",
        formula="min E loss at width d = min over rank(Z) <= d",
        kind="identity",
        status="with a condition",
        instances=draw_masked,
        measure=per_group(_attained),
        control=Control(
            "no constraint on the rank", per_group(functools.partial(_attained, constrained=False))
        ),
    ),
    Claim(
        name="dropout.keep_rate",
        source=f"{SOURCE}, (33)",
        statement="The printed weight holds at every width if the keep rate falls with it.",
        formula="min E loss = min_Z ||Y - Z||^2 + (1-p)/p ||Z||_*^2 at mu(d) = p/(d - (d-1) p)",
        kind="identity",
        status="with a condition",
        instances=draw_masked,
        measure=per_group(_attained_by_rate),
        control=Control(
            "mu = p at every width", per_group(functools.partial(_attained_by_rate, adapted=False))
        ),
    ),
    Claim(
        name="dropout.minimiser",
        source="derived from arXiv 2503.19859, (33)",
        statement="The minimiser of the squared nuclear norm problem is a soft threshold.",
        formula="||Y - Z||^2 + nu ||Z||_*^2 is least at s_i(Z) = (s_i - tau)_+, "
        "tau = nu sum_{i<=rho} s_i / (1 + rho nu)",
        kind="lower",
        status="new",
        instances=draw_matrices,
        measure=_minimiser,
        control=Control(
            "all singular values counted, rho = K",
            functools.partial(_minimiser, counted_all=True),
        ),
    ),
)
