"""Claims: B lies in the row space of the first gradient, exactly, and A leaves it again.

Legend: as in `alignment` and `linear_teacher`; B_0 = 0, A_0 Gaussian, G of rank r*, V its leading
right singular vectors. Points are steps.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.alignment.theory import angle, mean_squared_tangent, row_leakage
from linear_theory.adaptation.linear_teacher import (
    Teacher,
    draw_teachers,
    factor_gradients,
    follow,
    gradient_step,
    per_trial,
)
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK, STEPS = 3, 24
START = 0.3  # size of A_0
FLOOR_RANK, FLOOR_D, FLOOR_SAMPLES = 3, 9, 60


def inside(gradient: np.ndarray, b: np.ndarray) -> Evidence:
    """Leakage of B_1, B_2, ... out of the leading r* right singular vectors of the gradient.

    Rounding of relative size eps turns the computed V by eps kappa, and each step adds its own.
    """
    _, values, right = np.linalg.svd(gradient, full_matrices=False)
    kappa = values[:, 0] / values[:, RANK - 1]
    leakage = row_leakage(right[:, None, :RANK].mT, b[:, 1:])
    steps = np.arange(1, b.shape[1])
    return Evidence(leakage, 64 * np.finfo(float).eps * (kappa[:, None] + steps))


def _start(teacher: Teacher) -> tuple[np.ndarray, np.ndarray]:
    trials, _, inner = teacher.start.shape
    return START * teacher.start, np.zeros((trials, inner, teacher.delta.shape[2]))


def _rates(teacher: Teacher) -> tuple[np.ndarray, np.ndarray]:
    """eta_1 in (0.02, 0.1) and eta_2 from eta_1 to 4 eta_1."""
    first = 0.02 + 0.08 * teacher.uniform[:, 0]
    return per_trial(first), per_trial(first * 4 ** teacher.uniform[:, 1])


def _gradient(teacher: Teacher) -> np.ndarray:
    return teacher.gram @ teacher.delta


def _descent(teacher: Teacher) -> Evidence:
    step = gradient_step(teacher, *_rates(teacher))
    return inside(_gradient(teacher), follow(step, *_start(teacher), STEPS)[1])


def _adam(teacher: Teacher) -> Evidence:
    """Adam divides each entry by its own size, which is no operation on row spaces."""
    a, b = _start(teacher)
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in (a, b)]
    path = [b]
    for step in range(1, STEPS + 1):
        moved = []
        gradients = factor_gradients(teacher.gram, teacher.delta, a, b)
        for weight, slope, moment in zip((a, b), gradients, moments, strict=True):
            moment[0] = 0.9 * moment[0] + 0.1 * slope
            moment[1] = 0.999 * moment[1] + 0.001 * slope**2
            size = np.sqrt(moment[1] / (1 - 0.999**step)) + 1e-8
            moved.append(weight - 0.01 * moment[0] / (1 - 0.9**step) / size)
        a, b = moved
        path.append(b)
    return inside(_gradient(teacher), np.stack(path, axis=1))


def _minibatches(teacher: Teacher, noise: float = 0.0) -> Evidence:
    """Batches of 16 in turn; label noise makes G one of full rank."""
    rate_a, rate_b = _rates(teacher)
    labels = teacher.x @ teacher.delta + noise * teacher.noise
    a, b = _start(teacher)
    path = [b]
    for step in range(STEPS):
        rows = (16 * step + np.arange(16)) % teacher.x.shape[1]
        x, y = teacher.x[:, rows], labels[:, rows]
        slope = x.mT @ (x @ a @ b - y) / 16
        a, b = a - rate_a * slope @ b.mT, b - rate_b * a.mT @ slope
        path.append(b)
    gradient = teacher.x.mT @ labels / teacher.x.shape[1]
    return inside(gradient, np.stack(path, axis=1))


def _heavy_ball(teacher: Teacher, start_b: float = 0.0) -> Evidence:
    """Momentum 0.9 and weight decay 0.01 beside each other."""
    rates = _rates(teacher)
    a, b = _start(teacher)
    b = b + start_b * teacher.noise[:, : b.shape[1]]
    speed, path = (np.zeros_like(a), np.zeros_like(b)), [b]
    for _ in range(STEPS):
        slopes = factor_gradients(teacher.gram, teacher.delta, a, b)
        speed = tuple(
            0.9 * v - rate / 4 * (slope + 0.01 * w)
            for v, rate, slope, w in zip(speed, rates, slopes, (a, b), strict=True)
        )
        a, b = a + speed[0], b + speed[1]
        path.append(b)
    return inside(_gradient(teacher), np.stack(path, axis=1))


def _preconditioned(teacher: Teacher, relu: bool = False) -> Evidence:
    """Damped preconditioned descent, for the linear model or one with ReLU outputs."""
    a, b = _start(teacher)
    rate, damping = _rates(teacher)[0], 0.1 * np.eye(a.shape[2])
    trained = 0.3 * teacher.noise[:, : a.shape[1]]  # W_pre of the ReLU model

    def gradient(product):
        if not relu:
            return teacher.gram @ (product - teacher.delta)
        before = teacher.x @ (trained + product)
        expected = np.maximum(teacher.x @ (trained + teacher.delta), 0)
        return teacher.x.mT @ ((np.maximum(before, 0) - expected) * (before > 0)) / before.shape[1]

    def step(a, b):
        slope = gradient(a @ b)
        moved = a - rate * slope @ b.mT @ np.linalg.inv(b @ b.mT + damping)
        return moved, b - rate * np.linalg.inv(a.mT @ a + damping) @ a.mT @ slope

    return inside(gradient(a @ b), follow(step, a, b, STEPS)[1])


def _transient(teacher: Teacher, stays: bool = False) -> Evidence:
    """At every step: the angle of A with G against that of Delta with G."""
    left = np.linalg.svd(_gradient(teacher))[0][:, :, :RANK]
    a, b = follow(gradient_step(teacher, 0.25, 0.25), *_start(teacher), 600)
    a, b = a[:, ::40], b[:, ::40]
    basis = np.linalg.svd(a, full_matrices=False)[0]
    final = 0.0 if stays else angle(left, teacher.left)[:, None]
    rest = norm(a @ b - teacher.delta[:, None], 2) / teacher.values[:, -1:]
    return Evidence(np.abs(angle(left[:, None], basis) - final), rest)


def _floor(teacher: Teacher, samples: int | None = None) -> Evidence:
    """||tan Theta||_F^2 = ||U_perp^T U_G (U^T U_G)^{-1}||_F^2."""
    basis = np.linalg.svd(_gradient(teacher), full_matrices=False)[0][:, :, :FLOOR_RANK]
    inside = teacher.left.mT @ basis
    outside = basis - teacher.left @ inside
    measured = norm(outside @ np.linalg.inv(inside)) ** 2
    count = FLOOR_SAMPLES if samples is None else samples
    return Evidence(measured, mean_squared_tangent(FLOOR_RANK, FLOOR_D, count))


_draw_floor = functools.partial(
    draw_teachers, d=FLOOR_D, k=4, samples=FLOOR_SAMPLES, rank=FLOOR_RANK
)

# (name, method, r, measure, control, controlled measure)
_METHODS = (
    (
        "gradient_descent",
        "gradient descent with any two step sizes, r < r*",
        2,
        _descent,
        "Adam",
        _adam,
    ),
    (
        "minibatches",
        "stochastic gradient descent without label noise, r = r*",
        3,
        _minibatches,
        "label noise of standard deviation 0.3",
        functools.partial(_minibatches, noise=0.3),
    ),
    (
        "momentum",
        "heavy ball with weight decay, r > r*",
        5,
        _heavy_ball,
        "B_0 not zero",
        functools.partial(_heavy_ball, start_b=0.1),
    ),
    (
        "preconditioned",
        "damped preconditioned descent, r > r*",
        5,
        _preconditioned,
        "ReLU outputs",
        functools.partial(_preconditioned, relu=True),
    ),
)

CLAIMS = (
    *(
        Claim(
            name=f"alignment.rows_{name}",
            source="arXiv 2502.01235, theorem 3.1",
            statement=f"From B_0 = 0 the rows of B stay in the row space of G: {method}. N >= d.",
            formula="||B_t (I - V V^T)|| = 0 for all t >= 1",
            kind="identity",
            status="as printed" if name == "gradient_descent" else "new",
            instances=functools.partial(draw_teachers, inner=inner),
            measure=measure,
            control=Control(changed, opposite),
        )
        for name, method, inner, measure, changed, opposite in _METHODS
    ),
    Claim(
        name="alignment.transient",
        source="proved in the statement; arXiv 2502.01235, theorem 3.2, is about the way there",
        statement="The angle of A with G returns to that of Delta with G, r = r*: (I - P_A) Delta"
        " = (I - P_A)(Delta - A B) bounds the sine between A and Delta.",
        formula="|angle(G, A_t) - angle(G, Delta)| <= ||A_t B_t - Delta||_2/s_{r*}(Delta)",
        kind="upper",
        status="corrected",
        instances=draw_teachers,
        measure=_transient,
        control=Control(
            "A stays aligned with G: angle(G, Delta) left out",
            functools.partial(_transient, stays=True),
        ),
    ),
    Claim(
        name="alignment.floor",
        source="proved in alignment.mean_squared_tangent",
        statement="The mean squared tangents between G and Delta, Gaussian inputs: the floor of the"
        " angle of A is about sqrt(d/N).",
        formula="E ||tan Theta(U(G), U(Delta))||_F^2 = r* (d - r*)/(N - r* - 1)",
        kind="mean",
        status="new",
        instances=_draw_floor,
        measure=_floor,
        control=Control(
            "a third fewer samples in the formula",
            functools.partial(_floor, samples=2 * FLOOR_SAMPLES // 3),
        ),
    ),
)
