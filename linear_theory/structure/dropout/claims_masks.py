"""Claims: masks of other laws and on other parts of a network, and what the penalty is good for.

Legend: as in `dropout`; Phi (d, k) any features of the inputs.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import (
    generator,
    norm,
    per_group,
    squared_norm,
    with_values,
)
from linear_theory.structure.dropout import theory as dropout
from linear_theory.structure.dropout.instances import (
    INPUTS,
    OUTPUTS,
    ROUNDING,
    SAMPLES,
    SOURCE,
    Masked,
    draw_masked,
    masks,
    random_layers,
)

UNITS = 4
FEW_OUTPUTS = 2


class Weighted(NamedTuple):
    """A last layer on the features of a network, and masks that take one of three values.

    Attributes:
      features: Phi (n, 4, 6), after a ReLU. targets: (n, 4, 6). last: W (n, 4, 4).
      values, chances: of a mask (n, 3); mean 1.
    """

    features: np.ndarray
    targets: np.ndarray
    last: np.ndarray
    values: np.ndarray
    chances: np.ndarray


def draw_weighted(key, trials: int) -> Weighted:
    """Values of a mask that are negative too.

    Example:
      >>> import jax
      >>> drawn = draw_weighted(jax.random.key(0), 2)
      >>> np.sum(drawn.values * drawn.chances, axis=1).round(9).tolist()
      [1.0, 1.0]
    """
    rng = generator(key)
    first = rng.standard_normal((trials, UNITS, INPUTS))
    features = np.maximum(first @ rng.standard_normal((trials, INPUTS, SAMPLES)), 0)
    targets = rng.standard_normal((trials, OUTPUTS, SAMPLES))
    last = rng.standard_normal((trials, OUTPUTS, UNITS))
    values = rng.uniform(-0.5, 3, (trials, 3))
    chances = rng.dirichlet(np.ones(3), trials)
    values = values + 1 - np.sum(values * chances, axis=1, keepdims=True)
    return Weighted(features, targets, last, values, chances)


def _other_masks(problem: Weighted, centred: bool = True) -> Evidence:
    """By enumeration of all 3^4 masks."""
    places = np.array(list(itertools.product(range(3), repeat=UNITS)))
    drawn, chance = problem.values[:, places], np.prod(problem.chances[:, places], axis=2)
    outputs = (problem.last[:, None] * drawn[:, :, None]) @ problem.features[:, None]
    exact = np.sum(chance * squared_norm(problem.targets[:, None] - outputs), axis=1)
    variance = np.sum(problem.values**2 * problem.chances, axis=1) - centred
    penalty = np.asarray(dropout.dropout_penalty(problem.last, problem.features))
    loss = squared_norm(problem.targets - problem.last @ problem.features)
    formula = loss + variance * penalty
    # Terms of the sum may be far above it where values of a mask are.
    size = squared_norm(problem.targets) + np.max(problem.values**2, axis=1) * penalty * UNITS
    return Evidence(np.abs(exact - formula), ROUNDING / 10 * size)


def _drop_connect(group: Masked, rescaled: bool = True) -> Evidence:
    """Every weight of W_2 is kept with probability mu, by enumeration of all masks."""
    first, second = random_layers(group, group.width, FEW_OUTPUTS)
    targets = group.targets[:, :FEW_OUTPUTS]
    drawn, chance = masks(FEW_OUTPUTS * group.width, group.keep)
    kept = drawn.reshape(-1, 1, FEW_OUTPUTS, group.width)
    hidden = first @ group.inputs
    losses = squared_norm(targets - (second * kept / group.keep[:, None, None]) @ hidden)
    exact = np.sum(chance * losses, axis=0)
    rate = group.keep if rescaled else 1 / (2 - group.keep)  # for which (1-mu)/mu is 1-mu
    formula = np.asarray(dropout.expected_loss(first, second, group.inputs, targets, rate))
    return Evidence(np.abs(exact - formula), ROUNDING * exact)


def _three_dropouts(group: Masked, by_width: bool = True) -> Evidence:
    """Four layers with dropout after each of three, near layers whose units are alike."""
    rng, width, count = group.generator(), group.width, len(group.keep)
    weight = np.asarray(dropout.nuclear_weight(group.keep, width if by_width else 1, 3))
    # A target of rank one, and the best multiple of it: the soft threshold.
    target = with_values(rng, rng.uniform(0.5, 3, (count, 1)), OUTPUTS, SAMPLES)
    value = norm(target, 2)
    shrunk = value / (1 + np.asarray(dropout.nuclear_weight(group.keep, width, 3)))
    left, _, right = np.linalg.svd(target)
    ones = np.ones((count, width, 1))
    layers = [
        ones * right[:, :1],
        ones @ ones.mT / width,
        ones @ ones.mT / width,
        left[:, :, :1] * (shrunk / width)[:, None, None] @ ones.mT,
    ]
    size = 10 ** rng.uniform(-4, -0.5, (count, 1, 1))
    layers = [layer + size * rng.standard_normal(layer.shape) for layer in layers]
    drawn, chance = masks(3 * width, group.keep)
    hidden = layers[0][None]
    for place, layer in enumerate(layers[1:]):
        kept = drawn[:, None, place * width : (place + 1) * width, None]
        hidden = layer @ (kept / group.keep[:, None, None] * hidden)
    losses = np.sum(chance * squared_norm(target - hidden), axis=0)
    # min_s (value - s)^2 + weight s^2
    return Evidence(losses, value**2 * weight / (1 + weight))


def _complexity(group: Masked, by_width: bool = True) -> Evidence:
    """One output: for every choice of signs the network of the class that follows them best."""
    rng, width, count = group.generator(), group.width, len(group.keep)
    budget = 10 ** rng.uniform(-1, 1, count)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=SAMPLES)))
    rows = np.linalg.svd(group.inputs, full_matrices=False)[2]
    inside = signs @ rows.mT @ rows
    # W_2 W_1 X is the unit vector along `inside`; all units are alike, so that the penalty of a
    # network of norm s is s^2 / d.
    outputs = inside / np.linalg.norm(inside, axis=2, keepdims=True)
    one = np.full((count, len(signs), 1, width), 1 / width)
    hidden = np.ones((width, 1)) * outputs[:, :, None]
    penalty = np.asarray(dropout.dropout_penalty(one, hidden)) / SAMPLES
    scale = np.sqrt(budget[:, None] / penalty)
    followed = np.mean(scale * np.sum(signs * outputs, axis=2), axis=1) / SAMPLES
    bound = np.sqrt((width if by_width else 1) * budget * INPUTS / SAMPLES)
    return Evidence(followed, bound)


draw_narrow = functools.partial(draw_masked, widths=(2, 3, 4))
draw_narrowest = functools.partial(draw_masked, widths=(2, 3))


CLAIMS = (
    Claim(
        name="dropout.other_masks",
        source=f"{SOURCE}, section 4.4: other masks, last layer of a nonlinear network",
        statement="Independent masks of any law with mean 1 on the units of a last layer, whatever "
        "the layers before it: of the law only the variance counts.",
        formula="E ||Y - W diag(z) Phi||^2 = ||Y - W Phi||^2 "
        "+ var(z) sum_i ||W e_i||^2 ||e_i^T Phi||^2",
        kind="identity",
        status="as printed",
        instances=draw_weighted,
        measure=_other_masks,
        control=Control("E z^2 for var(z)", functools.partial(_other_masks, centred=False)),
    ),
    Claim(
        name="dropout.drop_connect",
        source=f"{SOURCE}, example 4.1; computed here",
        statement="DropConnect on a layer is, in the mean, dropout of the units before it.",
        formula="E ||Y - (W_2 * z/mu) W_1 X||^2 = ||Y - W_2 W_1 X||^2 "
        "+ (1-mu)/mu sum_i ||W_2 e_i||^2 ||e_i^T W_1 X||^2",
        kind="identity",
        status="new",
        instances=draw_narrow,
        measure=per_group(_drop_connect),
        control=Control(
            "factor 1 - mu", per_group(functools.partial(_drop_connect, rescaled=False))
        ),
    ),
    Claim(
        name="dropout.three_layers",
        source=f"{SOURCE}, section 4.4: dropout in deep linear networks; dropout.nuclear_weight",
        statement="Three dropout layers of width d, targets of rank one: the penalty grows with "
        "depth, by the same factor for every layer.",
        formula="E loss >= min_Z ||Y - Z||^2 + nu ||Z||_*^2, nu = (1 + (1-mu)/(mu d))^3 - 1",
        kind="lower",
        status="new",
        instances=draw_narrowest,
        measure=per_group(_three_dropouts),
        control=Control(
            "without the width, nu = mu^-3 - 1",
            per_group(functools.partial(_three_dropouts, by_width=False)),
        ),
    ),
    Claim(
        name="dropout.complexity",
        source=f"{SOURCE}, section 4.4: dropout and Rademacher complexity; derived here",
        statement="Networks with one output whose mean dropout penalty is at most c: their "
        "Rademacher complexity is bounded by the rank of the inputs, and by the width.",
        formula="E_e sup 1/n sum_j e_j f(x_j) <= sqrt(c d rank(X) / n)",
        kind="upper",
        status="new",
        instances=draw_masked,
        measure=per_group(_complexity),
        control=Control(
            "without the width", per_group(functools.partial(_complexity, by_width=False))
        ),
    ),
)
