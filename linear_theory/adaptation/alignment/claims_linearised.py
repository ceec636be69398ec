"""Claims: the linear phase of a factored update, its error, and how steps of two sizes act.

Legend: as in `linearised` and `linear_teacher`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.alignment import linearised
from linear_theory.adaptation.alignment import theory as alignment
from linear_theory.adaptation.linear_teacher import (
    Teacher,
    draw_teachers,
    follow,
    gradient_step,
    per_trial,
)
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import per_instance
from linear_theory.instances.random_matrices import norm

STEPS = 40
LONG = 120  # steps, to see the end of the linear phase
EPS = np.finfo(float).eps

_closed_form = per_instance(functools.partial(linearised.linearised_factors, steps=STEPS))


def _rates(teacher: Teacher) -> tuple[np.ndarray, np.ndarray]:
    """eta_1 in (0.02, 0.1), eta_2/eta_1 from 1/16 to 16."""
    first = 0.02 + 0.08 * teacher.uniform[:, 0]
    return first, first * 256 ** (teacher.uniform[:, 1] - 0.5)


def _linear_path(teacher: Teacher, a, b, rates, steps=STEPS) -> tuple[np.ndarray, ...]:
    gradient, (rate_a, rate_b) = teacher.gram @ teacher.delta, map(per_trial, rates)

    def step(a, b):
        return a + rate_a * gradient @ b.mT, b + rate_b * a.mT @ gradient

    return follow(step, a, b, steps)


def _start(teacher: Teacher, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A_0 of Frobenius norm `size`, B_0 = 0."""
    a = teacher.start * per_trial(size / norm(teacher.start))
    return a, np.zeros((len(a), a.shape[2], teacher.delta.shape[2]))


def _stacked(rates, a, b) -> np.ndarray:
    """||Z||_F of factors, over any axes between the trials and the matrices."""
    shape = (-1,) + (1,) * (a.ndim - 3)
    return np.sqrt(norm(a) ** 2 / rates[0].reshape(shape) + norm(b) ** 2 / rates[1].reshape(shape))


def _lin(teacher: Teacher, balanced: bool = False) -> Evidence:
    rates = _rates(teacher)
    start = _start(teacher, np.ones(len(teacher.x)))
    a, b = _linear_path(teacher, *start, rates)
    first, second = _closed_form(teacher.gram @ teacher.delta, start[0], *rates)
    if balanced:
        second = second / per_trial(np.sqrt(rates[1] / rates[0]))
    error = _stacked(rates, a[:, -1] - first, b[:, -1] - second)
    # Each step rounds by a few eps of the state, and so does each of the t factors of a power.
    return Evidence(error, 16 * STEPS * EPS * _stacked(rates, a[:, -1], b[:, -1]))


def _linear_phase(teacher: Teacher, start, rates, steps: int = STEPS):
    """||Z_t - Z_t^lin||_F (trials, steps + 1) and the scalars y_0, s, l, q."""
    exact = follow(gradient_step(teacher, *map(per_trial, rates)), *start, steps)
    linear = _linear_path(teacher, *start, rates, steps)
    error = _stacked(rates, *(one - other for one, other in zip(exact, linear, strict=True)))
    slope = norm(teacher.gram @ teacher.delta, 2)
    scalars = (_stacked(rates, *start), slope, norm(teacher.gram, 2), np.sqrt(rates[0] * rates[1]))
    return error, scalars


def _size(teacher: Teacher) -> np.ndarray:
    """||A_0||_F from 1e-3 to 0.3."""
    return 1e-3 * 300 ** teacher.uniform[:, 2]


def _error(teacher: Teacher, curvature: float = 1.0, extremal: bool = False) -> Evidence:
    """Extremal: S = I and Z_0 along the leading pair of G, both factors of one size."""
    rates = _rates(teacher)
    start = _start(teacher, _size(teacher))
    if extremal:
        left, right = teacher.left[:, :, :1], teacher.right[:, :, :1]
        imbalance = per_trial(np.sqrt(rates[1] / rates[0]))
        size = per_trial(_size(teacher))
        start = size * left, size * imbalance * right.mT
    error, (whole, slope, top, mean_step) = _linear_phase(teacher, start, rates)
    bound = np.asarray(
        linearised.linearisation_bound(whole, slope, curvature * top, mean_step, STEPS)
    )
    # Both paths round by a few eps of the state at each step.
    rounding = 16 * EPS * np.arange(STEPS + 1) * whole[:, None] * (1 + mean_step * slope)[:, None]
    rounding = rounding ** np.arange(STEPS + 1).clip(max=1)
    return Evidence(error, bound, (error > 1e3 * rounding) & np.isfinite(bound))


def _validity(teacher: Teacher, longer: float = 1.0) -> Evidence:
    rates = _rates(teacher)
    size = 0.01 * 10 ** teacher.uniform[:, 2]
    accuracy = 0.02 * 25 ** teacher.uniform[:, 3]
    start = _start(teacher, size)
    error, (whole, slope, top, mean_step) = _linear_phase(teacher, start, rates, LONG)
    time = np.asarray(linearised.validity_time(size, slope, top, *rates, accuracy))
    steps = np.arange(LONG + 1)
    bound = (accuracy * whole)[:, None] * (1 + mean_step * slope)[:, None] ** steps
    premise = (steps > 0) & (steps <= longer * time[:, None])
    return Evidence(error, bound, premise)


def _two_steps(teacher: Teacher, rescaled: bool = True) -> Evidence:
    """Products A_t B_t under two step sizes, and under their geometric mean from c A_0."""
    rates = _rates(teacher)
    start = _start(teacher, 0.1 + teacher.uniform[:, 2])
    a, b = follow(gradient_step(teacher, *map(per_trial, rates)), *start, STEPS)
    scaled, mean_step = map(np.asarray, alignment.equal_step_start(start[0], *rates))
    first = scaled if rescaled else start[0]
    step = gradient_step(teacher, *[per_trial(mean_step)] * 2)
    c, d = follow(step, first, start[1], STEPS)
    size = norm(a) * norm(b) + norm(c) * norm(d)
    # A step rounds by a few eps and passes on what there is, at most growing by 1 + q s.
    growth = (1 + mean_step * norm(teacher.gram @ teacher.delta, 2))[:, None]
    steps = np.arange(STEPS + 1)
    largest = np.maximum.accumulate(size, axis=1) + norm(teacher.delta)[:, None]
    return Evidence(norm(a @ b - c @ d), 16 * EPS * largest * steps * growth**steps)


CLAIMS = (
    Claim(
        name="alignment.linearised",
        source="arXiv 2502.01235, linear approximation before theorem 3.2",
        statement="Without the cubic term the singular directions of G grow each by itself.",
        formula="A_t = U diag(((1+q s)^t + (1-q s)^t)/2) U^T A_0, "
        "B_t^T = sqrt(eta_2/eta_1) V diag(((1+q s)^t - (1-q s)^t)/2) U_1^T A_0",
        kind="identity",
        status="as printed",
        instances=draw_teachers,
        measure=_lin,
        control=Control(
            "B without the factor sqrt(eta_2/eta_1)", functools.partial(_lin, balanced=True)
        ),
    ),
    Claim(
        name="alignment.linearisation_error",
        source="proved in linearised.linearisation_bound",
        statement="How far descent is from its linear dynamics, at every step and for any start.",
        formula="||Z_t - Z_t^lin||_F <= y_t - rho^t y_0, y_{t+1} = rho y_t + q^2 l y_t^3/2",
        kind="upper",
        status="new",
        instances=draw_teachers,
        measure=_error,
        control=Control(
            "half the curvature, on the extremal direction",
            functools.partial(_error, curvature=0.5, extremal=True),
            functools.partial(draw_teachers, samples=None, rank=1),
        ),
    ),
    Claim(
        name="alignment.validity_time",
        source="proved in linearised.validity_time; the time T_1 of the talk on arXiv 2502.01235",
        statement="The linear dynamics are right up to delta until the product has reached a share"
        " of G. The talk's T_1 has neither delta, S nor the ratio of the steps.",
        formula="||Z_t - Z_t^lin||_F <= delta rho^t ||Z_0||_F for "
        "t <= ln(4 delta s/((1+delta)^3 l sqrt(eta_2/eta_1) ||A_0||_F^2))/(2 ln rho)",
        kind="upper",
        status="with a condition",
        instances=draw_teachers,
        measure=_validity,
        control=Control("three times as long", functools.partial(_validity, longer=3.0)),
    ),
    Claim(
        name="alignment.step_ratio",
        source="alignment.equal_step_start; LoRA+, arXiv 2402.12354",
        statement="Two step sizes act as their geometric mean from a start scaled by the fourth"
        " root of their ratio: the products agree at every step.",
        formula="(A_0, eta_1, eta_2) and ((eta_2/eta_1)^{1/4} A_0, q, q) have the same A_t B_t",
        kind="identity",
        status="new",
        instances=draw_teachers,
        measure=_two_steps,
        control=Control("the same start", functools.partial(_two_steps, rescaled=False)),
    ),
)
