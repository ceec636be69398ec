"""Claims: the first step of LoRA, LoRA-GA and LoRA-One, for a loss that is not quadratic.

Legend: as in `displacement`; the loss is ||tanh(X W) - Y||_F^2/(2 N).
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.displacement import theory as displacement
from linear_theory.adaptation.linear_teacher import Teacher, draw_teachers
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK, SCALE, SIZE = 2, 1.7, 0.8
EPS = np.finfo(float).eps


def _gradient(teacher: Teacher) -> np.ndarray:
    """At trained weights that are not those of the teacher."""
    outputs = np.tanh(teacher.x @ (0.3 * teacher.noise[:, : teacher.x.shape[2]]))
    expected = np.tanh(teacher.x @ teacher.delta)
    return teacher.x.mT @ ((outputs - expected) * (1 - outputs**2)) / teacher.x.shape[1]


def _moved(gradient: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What is odd in the step size of the change of s A B, at step size 1.

    The product is a quadratic in the step size, so that this is its first order, exactly.
    """
    slope_a, slope_b = SCALE * gradient @ b.mT, SCALE * a.mT @ gradient
    forward, backward = (
        SCALE * (a - sign * slope_a) @ (b - sign * slope_b) for sign in (1.0, -1.0)
    )
    return (forward - backward) / 2


def _cut(gradient: np.ndarray, rank: int) -> np.ndarray:
    left, values, right = np.linalg.svd(gradient, full_matrices=False)
    return (left[..., :rank] * values[:, None, :rank]) @ right[:, :rank]


def _against(teacher: Teacher, factors, stated) -> Evidence:
    gradient = _gradient(teacher)
    a, b = factors(teacher, gradient)
    error = norm(_moved(gradient, a, b) - stated(gradient, a))
    size = SCALE * (1 + SCALE * norm(gradient)) ** 2 * (1 + norm(a)) ** 2 * (1 + norm(b)) ** 2
    return Evidence(error, 16 * EPS * size)


def _lora(teacher: Teacher, gradient: np.ndarray):
    return teacher.start, np.zeros((len(gradient), RANK, gradient.shape[2]))


def _lora_ga(teacher: Teacher, gradient: np.ndarray):
    return displacement.lora_ga_factors(gradient, RANK, SIZE)


def _lora_one(teacher: Teacher, gradient: np.ndarray):
    return displacement.lora_one_factors(gradient, RANK, SIZE)


# (name, source, factors, formula, stated, control, controlled)
_STARTS = (
    (
        "lora",
        "arXiv 2502.01235, LoRA's first step",
        _lora,
        "dW = -s^2 A_0 A_0^T g: at random directions, of rank r",
        lambda g, a: -(SCALE**2) * a @ (a.mT @ g),
        "s in place of s^2",
        lambda g, a: -SCALE * a @ (a.mT @ g),
    ),
    (
        "lora_ga",
        "LoRA-GA, arXiv 2407.05000, theorem 3.1",
        _lora_ga,
        "dW = -s^2 c^2 g_(2r)",
        lambda g, a: -((SCALE * SIZE) ** 2) * _cut(g, 2 * RANK),
        "the best approximation of rank r",
        lambda g, a: -((SCALE * SIZE) ** 2) * _cut(g, RANK),
    ),
    (
        "lora_one",
        "arXiv 2502.01235, algorithm 1 of the talk",
        _lora_one,
        "dW = -2 s^2 c^2 g_(r)",
        lambda g, a: -2 * (SCALE * SIZE) ** 2 * _cut(g, RANK),
        "as for LoRA-GA, -s^2 c^2 g_(2r)",
        lambda g, a: -((SCALE * SIZE) ** 2) * _cut(g, 2 * RANK),
    ),
)

CLAIMS = tuple(
    Claim(
        name=f"displacement.{name}",
        source=source,
        statement="The first step of the weight in use, to first order in the step size and per"
        " unit of it, for any loss.",
        formula=formula,
        kind="identity",
        status="new",
        instances=functools.partial(draw_teachers, inner=RANK),
        measure=functools.partial(_against, factors=factors, stated=stated),
        control=Control(changed, functools.partial(_against, factors=factors, stated=other)),
    )
    for name, source, factors, formula, stated, changed, other in _STARTS
)
