"""Claims: the plateau of LoRA-GA in the linear teacher, and the saddle of a flipped sign.

Legend: as in `subtracted_start`. LoRA-GA starts with A_0 = c U_r, B_0 = c V_{r+1:2r}^T.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.displacement.theory import lora_ga_factors, lora_one_factors
from linear_theory.adaptation.linear_teacher import (
    Teacher,
    draw_teachers,
    follow,
    gradient_step,
    per_trial,
)
from linear_theory.adaptation.preconditioning.claims_steps import linear_slope, stepping
from linear_theory.adaptation.subtracted_start import theory as subtracted_start
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK = 3
SIZE = 1.58  # c, the published 100^{1/4}/2
STEPS, DAMPING = 240, 1e-3
SADDLE_STEPS, SADDLE_STEP = 80, 0.2
EPS = np.finfo(float).eps
# Damping does not move the limit. The slowest rate is about 1 - eta l_min(S) (1 - s_{r+1}/s_r) <
# 0.94 for eta > 0.25, l_min(S) > 0.3 and s_{r+1} < s_r/5: 240 steps leave 1e-6 of the error, or
# far less. It must be stable as well, eta l_max((I + P) S) < 2, which eta = 0.5 is not for all
# instances.
PLATEAU_TOLERANCE = 1e-6


def _step_size(teacher: Teacher) -> np.ndarray:
    return 0.25 + 0.1 * teacher.uniform[:, 0]


def _lora_ga(teacher: Teacher) -> tuple[Teacher, np.ndarray, np.ndarray]:
    """The teacher with target T, and products A_t B_t from LoRA-GA's start."""
    a, b = lora_ga_factors(teacher.gram @ teacher.delta, RANK, SIZE)
    moved = teacher._replace(delta=teacher.delta + a @ b)
    step = stepping(linear_slope(moved), per_trial(_step_size(teacher)), DAMPING)
    return moved, np.matmul(*follow(step, a, b, STEPS))


def _loss(teacher: Teacher) -> tuple[Teacher, np.ndarray]:
    moved, products = _lora_ga(teacher)
    rest = products - moved.delta[:, None]
    return moved, (rest * (moved.gram[:, None] @ rest)).sum(axis=(2, 3)) / 2


def _floor(teacher: Teacher, rank: int = RANK) -> Evidence:
    moved, losses = _loss(teacher)
    return Evidence(losses, subtracted_start.training_floor(moved.gram, moved.delta, rank)[:, None])


def _plateau(teacher: Teacher, whitened: bool = False) -> Evidence:
    moved, products = _lora_ga(teacher)
    gram = np.broadcast_to(np.eye(moved.gram.shape[1]), moved.gram.shape)
    best = subtracted_start.best_product(gram if whitened else moved.gram, moved.delta, RANK)
    stated = norm(best - moved.delta) ** 2 / 2
    measured = norm(products[:, -1] - moved.delta) ** 2 / 2
    values = np.linalg.svd(moved.delta, compute_uv=False)
    slope = np.linalg.eigvalsh(moved.gram)[:, 0] * (1 - values[:, RANK] / values[:, RANK - 1])
    left = (1 - _step_size(teacher) * slope) ** STEPS
    rounded = (left + 16 * EPS) * norm(moved.delta) ** 2
    return Evidence(measured, stated, True, np.minimum(rounded, PLATEAU_TOLERANCE * stated))


def _population(teacher: Teacher) -> Evidence:
    """T = U_r (...) has rank r where the columns of G are those of Delta."""
    a, b = lora_ga_factors(teacher.gram @ teacher.delta, RANK, SIZE)
    target = teacher.delta + a @ b
    floor = subtracted_start.training_floor(teacher.gram, target, RANK)
    return Evidence(np.sqrt(2 * floor), 64 * EPS * norm(target))


def _saddle(teacher: Teacher, sign: float = 1.0) -> Evidence:
    """Half the squared distance at every step, from the SVD of +gradient for sign 1; s = 1."""
    gamma = 0.05 + 0.9 * teacher.uniform[:, 0]
    a, b = lora_one_factors(-sign * teacher.delta, RANK, 1.0)
    a, b = per_trial(np.sqrt(gamma)) * a, per_trial(np.sqrt(gamma)) * b
    moved = teacher._replace(delta=teacher.delta + a @ b)
    step = gradient_step(moved, SADDLE_STEP, SADDLE_STEP)
    products = np.matmul(*follow(step, a, b, SADDLE_STEPS))
    risk = norm(products - moved.delta[:, None]) ** 2 / 2
    return Evidence(risk, np.asarray(subtracted_start.saddle_risk(teacher.values, gamma))[:, None])


CLAIMS = (
    Claim(
        name="subtracted_start.lora_ga_floor",
        source="subtracted_start.training_floor; LoRA-GA, arXiv 2407.05000",
        statement="From LoRA-GA's start no optimiser brings the training loss of the linear teacher"
        " below the tail of its target, which has rank up to 2 r.",
        formula="L(A_t B_t) >= 1/2 sum_{i>r} s_i(S^{1/2} T)^2, T = Delta + A_0 B_0",
        kind="lower",
        status="new",
        instances=draw_teachers,
        measure=_floor,
        control=Control("the tail after r - 1", functools.partial(_floor, rank=RANK - 1)),
    ),
    Claim(
        name="subtracted_start.lora_ga_plateau",
        source="subtracted_start.best_product; the toy of the talk on arXiv 2502.01235",
        statement="The risk at which LoRA-GA with damped preconditioning stays in the linear"
        " teacher.",
        formula="risk -> ||W* - T||_F^2/2, W* = S^{-1/2} [S^{1/2} T]_(r)",
        kind="fit",
        status="new",
        instances=draw_teachers,
        measure=_plateau,
        control=Control("S = I in W*", functools.partial(_plateau, whitened=True)),
    ),
    Claim(
        name="subtracted_start.lora_ga_population",
        source="subtracted_start.training_floor",
        statement="LoRA-GA has no plateau for S = I and r = r*: its target has the columns of Delta"
        " and so rank r. The plateau is the angle between G and Delta, about sqrt(d/N).",
        formula="S = I: s_{r+1}(Delta + c^2 U_r V_{r+1:2r}^T) = 0",
        kind="identity",
        status="new",
        instances=functools.partial(draw_teachers, samples=None),
        measure=_population,
        control=Control("finite N", _population, draw_teachers),
    ),
    Claim(
        name="subtracted_start.saddle",
        source="derived in subtracted_start.saddle_risk; arXiv 2502.01235, algorithm 1",
        statement="With the SVD of +gradient, as in the talk's algorithm 1, gradient descent does"
        " not pass the saddle A B = 0 for S = I: it stops at a positive risk if s gamma < s_1.",
        formula="||A_t B_t - T||_F^2/2 >= 1/2 sum_i max(s_i - gamma, 0)^2",
        kind="lower",
        status="corrected",
        instances=functools.partial(draw_teachers, samples=None),
        measure=_saddle,
        control=Control("the SVD of -gradient", functools.partial(_saddle, sign=-1.0)),
    ),
)
