"""Claims: which division of the steps is best, for the components and for their sum.

Legend: as in `theory`.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from deflation import budgets
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import falling, generator, unit_rows, with_values
from linear_theory.sequential.budgets import theory

FEW, TOTAL = 3, 12  # components and steps of which all divisions are looked at
RANK, SIZE, STARTS = 5, 8, 16
STEPS, FEWER = 20 * RANK, 16 * RANK
ALPHAS = (-0.5, 0, 0.5, 1)
EPS = np.finfo(np.float64).eps
# Of s_r, the error of equal steps: they were enough, and there is something left to divide.
LEAST, NEAR = 1e-8, 0.05


class Rates(NamedTuple):
    """errors c_k, rates q_k (trials, 3)."""

    errors: np.ndarray
    rates: np.ndarray


class Runs(NamedTuple):
    """values s_k (trials, 8); starts a (trials, 5, 16, 8), one per component and run.

    Runs are in the basis of the singular vectors of M, where M is diagonal.
    """

    values: np.ndarray
    starts: np.ndarray


class Targets(NamedTuple):
    """Matrices (trials, 6, 8), starts (trials, 5, 8), steps (trials, 5)."""

    target: np.ndarray
    starts: np.ndarray
    steps: np.ndarray


def draw_rates(key, trials: int) -> Rates:
    """Errors between .1 and 1, rates between .1 and .9."""
    rng = generator(key)
    return Rates(rng.uniform(0.1, 1, (trials, FEW)), rng.uniform(0.1, 0.9, (trials, FEW)))


def draw_geometric(key, trials: int) -> np.ndarray:
    """Ratios between .3 and .95."""
    return generator(key).uniform(0.3, 0.95, (trials, 1))


def draw_runs(key, trials: int, least: float = 0.4) -> Runs:
    """Ratios s_{k+1} / s_k between `least` and .9."""
    rng = generator(key)
    ratios = rng.uniform(least, 0.9, (trials, SIZE - 1))
    return Runs(falling(ratios), rng.standard_normal((trials, RANK, STARTS, SIZE)))


def draw_targets(key, trials: int) -> Targets:
    """Matrices with gaps of all sizes, one to five steps per component."""
    rng = generator(key)
    values = np.sort(rng.uniform(0.05, 1, (trials, 6)))[:, ::-1]
    target = with_values(rng, values, 6, SIZE)
    starts = rng.standard_normal((trials, RANK, SIZE))
    return Targets(target, starts, rng.integers(1, 6, (trials, RANK)))


def _divisions() -> np.ndarray:
    """All ways to give 12 steps to three components."""
    pairs = itertools.combinations(range(1, TOTAL), FEW - 1)
    return np.array([(i, j - i, TOTAL - j) for i, j in pairs])


def _chosen(errors: np.ndarray, rates: np.ndarray, total: int) -> np.ndarray:
    rows = zip(errors, rates, strict=True)
    return np.array([budgets.optimal(*row, total).steps for row in rows])


def _optimal(given: Rates, chosen=_chosen) -> Evidence:
    steps = chosen(given.errors, given.rates, TOTAL)
    measured = theory.left_over(given.errors, given.rates, steps)
    every = theory.left_over(given.errors[:, None], given.rates[:, None], _divisions())
    return Evidence(measured, every.min(axis=1))


def _equal(errors, rates, total) -> np.ndarray:
    return np.array([budgets.equal(errors.shape[1], total).steps] * len(errors))


def _near(given: Rates, predicted=theory.water_filling) -> Evidence:
    steps = _chosen(given.errors, given.rates, TOTAL * FEW)
    filled = predicted(given.errors, given.rates, TOTAL * FEW)
    # A step at least is what `optimal` gives, and the formula nothing.
    premise = np.all(filled >= 1, axis=1, keepdims=True)
    return Evidence(steps.astype(float), filled, premise, 1.0)


def _head_start(ratio: np.ndarray, difference: float = theory.head_start()) -> Evidence:
    values = ratio ** np.arange(RANK)
    steps = theory.water_filling(values, np.broadcast_to(ratio**2, values.shape), STEPS)
    error = abs(steps[:, :-1] - steps[:, 1:] - difference)
    # The level is a logarithm of up to STEPS lambda, and is divided by lambda.
    return Evidence(error, 2 * EPS * STEPS / -np.log(ratio))


def _stepped(target: np.ndarray, starts: np.ndarray, steps: np.ndarray):
    """b, a of each component and what is left: `steps` (..., r) on (..., m, d) from (..., r, d)."""
    b, a, rest = [], [], target
    for k in range(starts.shape[-2]):
        right = unit_rows(starts[..., k, :])
        for step in range(int(steps[..., k].max())):
            image = np.einsum("...ij,...j->...i", rest, right)
            new = unit_rows(np.einsum("...ij,...i->...j", rest, image))
            right = np.where((step < steps[..., k])[..., None], new, right)
        b.append(np.einsum("...ij,...j->...i", rest, right))
        a.append(right)
        rest = rest - b[-1][..., :, None] * right[..., None, :]
    return np.stack(b, axis=-2), np.stack(a, axis=-2), rest


def _outside(given: Targets, shorten: float = 1.0) -> Evidence:
    b, a, _ = _stepped(given.target, given.starts, given.steps)
    left = given.target - shorten * np.swapaxes(b, 1, 2) @ a
    error = abs(np.linalg.norm(left, axis=(1, 2)) - theory.outside(given.target, a))
    return Evidence(error, 4 * EPS * np.linalg.norm(given.target, axis=(1, 2)))


def _errors(runs: Runs, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the components and of their sum beyond the tail, medians over the runs (trials,)."""
    target = np.eye(SIZE) * runs.values[:, None, None]
    starts = np.swapaxes(runs.starts, 1, 2)
    steps = np.broadcast_to(steps[:, None], (*starts.shape[:2], RANK))
    b, a, _ = _stepped(target, starts, steps)
    units = np.eye(SIZE)[:RANK]
    exact = runs.values[:, None, :RANK, None, None] * units[..., None] * units[:, None]
    wrong = b[..., None] * a[..., None, :] - exact
    # ||M (I - P)||^2 - tau_r^2 from what is left of each axis, not as a difference of large sums.
    frame = np.linalg.qr(np.swapaxes(a, -1, -2))[0]
    left = np.eye(SIZE) - frame @ np.swapaxes(frame, -1, -2)
    missed, taken = np.sum(left**2, axis=-1)[..., :RANK], np.sum(frame**2, axis=-1)[..., RANK:]
    squares = runs.values[:, None] ** 2
    excess = np.sum(squares[..., :RANK] * missed, -1) - np.sum(squares[..., RANK:] * taken, -1)
    excess = np.maximum(excess, 0)
    both = np.sum(wrong**2, axis=(-3, -2, -1)), excess
    return tuple(np.sqrt(np.median(squares, axis=1)) for squares in both)


def _family(runs: Runs, alpha: float, total: int = STEPS) -> np.ndarray:
    return np.array([budgets.alpha_family(RANK, total, alpha, 1).steps] * len(runs.values))


def _recovery(runs: Runs, chosen=_chosen) -> Evidence:
    rates = (runs.values[:, 1 : RANK + 1] / runs.values[:, :RANK]) ** 2
    measured, _ = _errors(runs, chosen(runs.values[:, :RANK], rates, STEPS))
    family = [_errors(runs, _family(runs, alpha))[0] for alpha in ALPHAS]
    return Evidence(measured, 2 * np.min(family, axis=0))


def _later_first(runs: Runs, which: int = 1) -> Evidence:
    equal, late = (_errors(runs, _family(runs, alpha, FEWER))[which] for alpha in (0, -0.5))
    share = equal / runs.values[:, RANK - 1]
    return Evidence(late, equal, (share > LEAST) & (share < NEAR))


CLAIMS = (
    Claim(
        name="budgets.optimal",
        source="proved in deflation.budgets.optimal",
        statement="One step after the other where it gains most leaves the least error of all "
        "divisions of the steps.",
        formula="sum_k c_k q_k^{t_k} <= sum_k c_k q_k^{t'_k} for all t' with the same sum",
        kind="upper",
        status="new",
        instances=draw_rates,
        measure=_optimal,
        control=Control("equal steps", functools.partial(_optimal, chosen=_equal)),
    ),
    Claim(
        name="budgets.water_filling",
        source="proved in theory.water_filling",
        statement="The best whole steps are within one of the closed form.",
        formula="t_k = log(c_k lambda_k / mu) / lambda_k, lambda_k = -log q_k, sum_k t_k given",
        kind="fit",
        status="new",
        instances=draw_rates,
        measure=_near,
        control=Control(
            "equal steps",
            functools.partial(
                _near, predicted=lambda c, q, total: _equal(c, q, total).astype(float)
            ),
        ),
    ),
    Claim(
        name="budgets.head_start",
        source="proved in theory.head_start",
        statement="Of a geometric spectrum every component deserves half an alternating step more "
        "than the next, however long the run: the share of a longer run is the more even.",
        formula="t_k - t_{k+1} = log(s_k/s_{k+1}) / (2 log(s_k/s_{k+1})) = 1/2",
        kind="identity",
        status="new",
        instances=draw_geometric,
        measure=_head_start,
        control=Control("equal steps", functools.partial(_head_start, difference=0.0)),
    ),
    Claim(
        name="budgets.recovery",
        source="observed; the question is open in arXiv 2505.22602",
        statement="With the rates known, the division that is best for the sum of the errors of "
        "the steps recovers the components as well as the best of the alpha family chosen "
        "afterwards, within a factor of two; in the median it is thirty times as near.",
        formula="median (sum_k ||b_k a_k^T - s_k u_k v_k^T||^2)^{1/2} of it <= 2 min_alpha of that "
        "of alpha = -1/2, 0, 1/2, 1; 20 alternating steps per component, 16 random starts",
        kind="upper",
        status="new",
        instances=draw_runs,
        measure=_recovery,
        control=Control("equal steps", functools.partial(_recovery, chosen=_equal)),
    ),
    Claim(
        name="budgets.later_steps_repair",
        source="proved in theory.outside",
        statement="Where every step ends with b_k = M_k a_k, the error of the sum is what the span "
        "of the a_k misses: what a step takes of a later component costs nothing.",
        formula="||M - sum_k b_k a_k^T|| = ||M (I - P)||, P onto span(a_1, ..., a_r)",
        kind="identity",
        status="new",
        instances=draw_targets,
        measure=_outside,
        control=Control("b_k shortened by a hundredth", functools.partial(_outside, shorten=0.99)),
    ),
    Claim(
        name="budgets.later_first",
        source="observed; against more-first of arXiv 2505.22602, figure 1",
        statement="So for the sum later components deserve more, where equal steps are enough to "
        "come near it: giving the later ones more leaves a smaller error than equal steps.",
        formula="median (||M - sum_k b_k a_k^T||^2 - tau_r^2)^{1/2} at alpha = -1/2 <= that at "
        "alpha = 0; 16 alternating steps per component, 16 random starts",
        kind="upper",
        status="new",
        instances=functools.partial(draw_runs, least=0.6),
        measure=_later_first,
        control=Control(
            "the same of the errors of the components", functools.partial(_later_first, which=0)
        ),
    ),
)
