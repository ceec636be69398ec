"""Claims: where the two starts of toy I end, and the invariant of toy II and of all factors.

Legend: as in `toys`. Toy I has d = 2 and N = 4 Gaussian inputs; the spectral start has g = X^T y/N,
a = g/|g|^{1/2}, b = |g|^{1/2}; LoRA's a Gaussian and b = 0.
"""

from __future__ import annotations

import functools

import jax
import numpy as np

from linear_theory.adaptation.linear_teacher import (
    Teacher,
    draw_teachers,
    factor_gradients,
    per_trial,
)
from linear_theory.adaptation.toys import theory as toys
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm

SAMPLES, TOY_STEPS, STEP = 4, 5000, 0.04
EPS = np.finfo(float).eps


def draw_toys(key: jax.Array, trials: int) -> dict[str, np.ndarray]:
    """x (trials, 4, 2) that are not close to a line, truth (trials, 2), start (trials, 2).

    Example:
      >>> draw_toys(jax.random.key(0), 3)["truth"].shape
      (3, 2)
    """
    random = generator(key)
    left = np.linalg.qr(random.normal(size=(trials, SAMPLES, 2)))[0]
    right = np.linalg.qr(random.normal(size=(trials, 2, 2)))[0]
    values = np.sqrt(SAMPLES) * (0.6 + 0.9 * random.random((trials, 1, 2)))
    turn = 2 * np.pi * random.random(trials)
    size = 1 + 2 * random.random(trials)
    truth = size[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    start = random.normal(size=(trials, 2))
    return {"x": (left * values) @ right.mT, "truth": truth, "start": start}


def _end(toy: dict, a: np.ndarray, b: np.ndarray, balanced: bool = False) -> Evidence:
    """|b| in the end from (a, b), against the formula with their balance or with none."""
    gram = toy["x"].mT @ toy["x"] / SAMPLES
    truth = toy["truth"]
    size = np.linalg.norm(truth, axis=1)
    first, drift = (a**2).sum(axis=1) - b**2, 0.0
    step = STEP / (1 + (a**2).sum(axis=1) + b**2 + size)  # over a bound of the curvature
    for _ in range(TOY_STEPS):
        slope = (gram @ (b[:, None] * a - truth)[..., None])[..., 0]
        slope_a, slope_b = b[:, None] * slope, (a * slope).sum(axis=1)
        drift = drift + step**2 * np.abs((slope_a**2).sum(axis=1) - slope_b**2)
        a, b = a - step[:, None] * slope_a, b - step * slope_b
    stated = np.asarray(toys.end_point(0 * first if balanced else first, size))
    # |d b^2/d D| < 1, so that the drifts of the balance bound the change of b^2; what is left of
    # the error does the same by |b a - w*|, and |b - b'| <= |b^2 - b'^2|/b'.
    rest = np.linalg.norm(b[:, None] * a - truth, axis=1)
    return Evidence(np.abs(b), stated, rest < 1e-3, (drift + 4 * rest * (1 + size)) / stated)


def _lora(toy: dict, balanced: bool = False) -> Evidence:
    return _end(toy, toy["start"], np.zeros(len(toy["start"])), balanced)


def _spectral(toy: dict, power: int = 1, even: bool = True) -> Evidence:
    """g from y^p x; factors of one size, or a = g and b = 1."""
    targets = (toy["x"] @ toy["truth"][..., None]) ** power
    gradient = (targets * toy["x"]).mean(axis=1)
    b = np.sqrt(np.linalg.norm(gradient, axis=1)) if even else np.ones(len(gradient))
    return _end(toy, gradient / b[:, None], b, balanced=True)


def _balance(teacher: Teacher, change: float = 1.0) -> Evidence:
    """One step from any factors, 0.3 of a Gaussian."""
    a, b = 0.3 * teacher.start, 0.3 * teacher.noise[:, : teacher.start.shape[2]]
    slope_a, slope_b = factor_gradients(teacher.gram, teacher.delta, a, b)
    step = per_trial(0.05 + 0.2 * teacher.uniform[:, 0])
    after = toys.balance(a - step * slope_a, b - step * slope_b)
    stated = toys.balance(a, b) + change * toys.balance_change(slope_a, slope_b, step)
    size = (norm(a) + norm(slope_a)) ** 2 + (norm(b) + norm(slope_b)) ** 2
    return Evidence(norm(after - stated), 16 * EPS * size)


def draw_plane(key: jax.Array, trials: int) -> np.ndarray:
    """(a, b, c) uniform in [-2, 2]^2 x [0.5, 2], (trials, 3)."""
    return generator(key).random((trials, 3)) * [4, 4, 1.5] + [-2, -2, 0.5]


def _invariant(points: np.ndarray, flow: bool = False) -> Evidence:
    """a^2 - b^2 over 50 steps of descent, against its product of factors; as a flow, constant."""
    a, b, c = points.T
    values, factors = [a**2 - b**2], [np.ones_like(a)]
    for _ in range(50):
        down_a, down_b = map(np.asarray, toys.field(a, b, c))
        factors.append(factors[-1] * (1 if flow else 1 - 0.01**2 * (a * b - c) ** 2))
        a, b = a + 0.01 * down_a, b + 0.01 * down_b
        values.append(a**2 - b**2)
    values, factors = np.stack(values, axis=1), np.stack(factors, axis=1)
    # Each step rounds a^2 and b^2, at most 16 in all instances, by a few eps.
    error = np.abs(values - factors * values[:, :1])
    return Evidence(error, 4 * EPS * 16 * np.arange(1, 52)[None])


CLAIMS = (
    Claim(
        name="toys.spectral_end_point",
        source="derived in toys.end_point; toy I of the talk on arXiv 2502.01235",
        statement="The spectral start ends at the balanced minimum; the step size is small.",
        formula="b -> ||w*||^{1/2}, 5^{1/4} for w* = (2, 1)",
        kind="fit",
        status="new",
        instances=draw_toys,
        measure=_spectral,
        control=Control(
            "an uneven start, a = g and b = 1", functools.partial(_spectral, even=False)
        ),
        figure="toy_paths",
    ),
    Claim(
        name="toys.notebook_end_point",
        source="derived in toys.end_point; toy I of the talk on arXiv 2502.01235",
        statement="The notebook's start, with y^2 x in place of y x, is no gradient but as even as"
        " one, and ends at the same minimum if it converges.",
        formula="b -> ||w*||^{1/2} from g = X^T y^2/N",
        kind="fit",
        status="corrected",
        instances=draw_toys,
        measure=functools.partial(_spectral, power=2),
        control=Control(
            "an uneven start, a = g and b = 1", functools.partial(_spectral, power=2, even=False)
        ),
    ),
    Claim(
        name="toys.lora_end_point",
        source="derived in toys.end_point; toy I of the talk on arXiv 2502.01235",
        statement="LoRA's start ends where its first factor says; the step size is small.",
        formula="b^2 -> (-D + (D^2 + 4 ||w*||^2)^{1/2})/2, D = |a_0|^2",
        kind="fit",
        status="new",
        instances=draw_toys,
        measure=_lora,
        control=Control("at the balanced minimum", functools.partial(_lora, balanced=True)),
        figure="toy_paths",
    ),
    Claim(
        name="toys.invariant",
        source="toys.balance_change; toy II of the talk on arXiv 2502.01235",
        statement="Descent on (a b - c)^2/2 shrinks a^2 - b^2 by a known factor in each step, in"
        " second order; the flow keeps it.",
        formula="a^2 - b^2 -> (1 - eta^2 (a b - c)^2) (a^2 - b^2)",
        kind="identity",
        status="new",
        instances=draw_plane,
        measure=_invariant,
        control=Control("constant, as in the flow", functools.partial(_invariant, flow=True)),
    ),
    Claim(
        name="toys.balance",
        source="toys.balance_change",
        statement="The same for factors of any shape.",
        formula="A^T A - B B^T changes by eta^2 (grad_A^T grad_A - grad_B grad_B^T)",
        kind="identity",
        status="new",
        instances=draw_teachers,
        measure=_balance,
        control=Control("constant, as in the flow", functools.partial(_balance, change=0.0)),
    ),
)
