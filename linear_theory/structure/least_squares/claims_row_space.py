"""Claims: gradient descent on a linear model stays in the row space and ends nearest to its start.

Legend: as in `least_squares`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, squared_norm, with_values
from linear_theory.structure.least_squares import theory as ls
from linear_theory.structure.least_squares.claims_best_rank import (
    COLUMNS,
    EPS,
    SOURCE,
)

STEPS = 50


class Descent(NamedTuple):
    """w_0 (n, 6), X (n, 4, 6), y (n, 4), eta (n,), eigenvalues of X X^T (n, 4)."""

    start: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    step: np.ndarray
    eigenvalues: np.ndarray


def draw_descents(key, trials: int) -> Descent:
    """More weights than samples, steps up to 1/lambda_max, a start outside the row space.

    Example:
      >>> import jax
      >>> draw_descents(jax.random.key(0), 2).inputs.shape
      (2, 4, 6)
    """
    rng = generator(key)
    values = rng.uniform(0.5, 2, (trials, 4))
    inputs = with_values(rng, values, 4, COLUMNS)
    step = rng.uniform(0.2, 1, trials) / values.max(axis=1) ** 2
    start, targets = rng.standard_normal((trials, COLUMNS)), rng.standard_normal((trials, 4))
    return Descent(start, inputs, targets, step, values**2)


def _outside(data: Descent, vectors: np.ndarray) -> np.ndarray:
    """What is left of vectors without their part in the row space."""
    inside = np.linalg.pinv(data.inputs) @ (data.inputs @ vectors[..., None])
    return vectors - inside[..., 0]


def _row_space(data: Descent, signs: bool = False) -> Evidence:
    end = np.asarray(ls.descend_linear(*data[:4], steps=STEPS))
    if signs:  # the first step of Adam
        residual = np.einsum("ind,id->in", data.inputs, data.start) - data.targets
        slope = np.einsum("ind,in->id", data.inputs, residual)
        end = data.start - data.step[:, None] * np.sign(slope)
    moved = _outside(data, end - data.start)
    return Evidence(np.linalg.norm(moved, axis=1), np.full(len(end), STEPS * 100 * EPS))


def _limit(data: Descent, printed: bool = False) -> Evidence:
    limit = ls.descent_limit(data.start, data.inputs, data.targets)
    distance = np.linalg.norm(data.start - limit, axis=1)
    if printed:
        limit = ls.descent_limit(0 * data.start, data.inputs, data.targets)
    end = np.asarray(ls.descend_linear(*data[:4], steps=STEPS))
    rate = 1 - data.step * data.eigenvalues.min(axis=1)
    return Evidence(np.linalg.norm(end - limit, axis=1), rate**STEPS * distance)


def _least_norm(data: Descent, always: bool = False) -> Evidence:
    limit = ls.descent_limit(data.start, data.inputs, data.targets)
    least = np.linalg.pinv(data.inputs) @ data.targets[..., None]
    added = 0 if always else np.sum(_outside(data, data.start) ** 2, axis=1)
    error = np.sum(limit**2, axis=1) - squared_norm(least) - added
    return Evidence(np.abs(error), 100 * EPS * (1 + np.sum(limit**2, axis=1)))


def _reduced(data: Descent, own: bool = True) -> Evidence:
    """Descent on as many numbers as there are samples, in a basis of the rows or of any space."""
    rows = np.swapaxes(data.inputs, 1, 2)
    basis = np.linalg.qr(rows if own else np.roll(rows, 1, axis=0))[0]
    inputs = data.inputs @ basis
    targets = data.targets[..., None] - data.inputs @ data.start[..., None]
    small = np.zeros_like(targets)
    for _ in range(STEPS):
        slope = np.swapaxes(inputs, 1, 2) @ (inputs @ small - targets)
        small = small - data.step[:, None, None] * slope
    end = np.asarray(ls.descend_linear(*data[:4], steps=STEPS))
    error = end - data.start - (basis @ small)[..., 0]
    return Evidence(np.linalg.norm(error, axis=1), np.full(len(end), STEPS * 20 * EPS))


CLAIMS = (
    Claim(
        name="least_squares.row_space",
        source=f"{SOURCE}, (8)",
        statement="Gradient descent moves in the row space of X only.",
        formula="w_t - w_0 in row(X)",
        kind="identity",
        status="as printed",
        instances=draw_descents,
        measure=_row_space,
        control=Control(
            "a step along the signs of the gradient, as Adam's first",
            functools.partial(_row_space, signs=True),
        ),
    ),
    Claim(
        name="least_squares.limit",
        source=f"{SOURCE}, (10)",
        statement="Its limit is the solution nearest to the start, at a linear rate, eta <= "
        "1/lambda_max.",
        formula="||w_t - w*|| <= (1 - eta lambda_min)^t ||w_0 - w*||, "
        "w* = w_0 + X^T (X X^T)^-1 (y - X w_0)",
        kind="upper",
        status="corrected",
        instances=draw_descents,
        measure=_limit,
        control=Control("as printed, without w_0", functools.partial(_limit, printed=True)),
    ),
    Claim(
        name="least_squares.least_norm",
        source=f"{SOURCE}, section 2.1",
        statement="The limit has the least norm only for a start in the row space.",
        formula="||w*||^2 = ||X^+ y||^2 + ||(I - P) w_0||^2",
        kind="identity",
        status="with a condition",
        instances=draw_descents,
        measure=_least_norm,
        control=Control("least norm from any start", functools.partial(_least_norm, always=True)),
    ),
    Claim(
        name="least_squares.reduced_path",
        source=f"{SOURCE}, section 2.3: optimising in the subspace alone",
        statement="Descent on n numbers, the coordinates in a basis of the row space, takes the "
        "path of descent on all d of them.",
        formula="w_t = w_0 + Q c_t, c descends ||X Q c - (y - X w_0)||^2, Q (d, n) a basis of "
        "row(X)",
        kind="identity",
        status="as printed",
        instances=draw_descents,
        measure=_reduced,
        control=Control(
            "a basis of another space of that size", functools.partial(_reduced, own=False)
        ),
    ),
)
