"""Claims: what LoRA-GA's start does to the rows of B, and how alignment survives the cubic term.

Legend: as in `alignment`, `linearised` and `linear_teacher`; U, V the leading r* left and right
singular vectors of G, U_perp (d, d - r*) what is orthogonal to U. Points are steps.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.alignment.claims_row_space import RANK, inside
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

STEPS = 24
LONG, EACH = 60, 6


def _lora_ga(teacher: Teacher, rank: int = 1) -> Evidence:
    """A_0 = c U_r, B_0 = c V_{r+1:2r}^T, A_0 B_0 taken off the base: the target is Delta + A_0 B_0.

    For 2 r > r* some of these directions are those of singular values that are zero.
    """
    gradient = teacher.gram @ teacher.delta
    left, _, right = np.linalg.svd(gradient)
    size = per_trial(0.1 + teacher.uniform[:, 0])
    a, b = size * left[:, :, :rank], size * right[:, rank : 2 * rank]
    target = teacher.delta + a @ b
    rate = per_trial(0.02 + 0.08 * teacher.uniform[:, 1])

    def step(a, b):
        slope_a, slope_b = factor_gradients(teacher.gram, target, a, b)
        return a - rate * slope_a, b - rate * slope_b

    return inside(gradient, follow(step, a, b, STEPS)[1])


def _transfer(teacher: Teacher, rest: float = 1.0) -> Evidence:
    """A_t = A_t^lin + E_t, and U_r*(A_t) = A_t times something of norm 1 over s_r*(A_t)."""
    rate = per_trial(0.05 + 0.2 * teacher.uniform[:, 0])
    start = per_trial(10.0 ** (-3 + 2 * teacher.uniform[:, 1])) * teacher.start
    zero = np.zeros((len(start), start.shape[2], teacher.delta.shape[2]))
    gradient = teacher.gram @ teacher.delta
    a = follow(gradient_step(teacher, rate, rate), start, zero, LONG)[0][:, 1::EACH]
    linear = follow(
        lambda a, b: (a + rate * gradient @ b.mT, b + rate * a.mT @ gradient), start, zero, LONG
    )[0][:, 1::EACH]
    outside = np.linalg.svd(gradient)[0][:, None, :, RANK:].mT
    left, values, _ = np.linalg.svd(a, full_matrices=False)
    measured = norm(outside @ left[..., :RANK], 2)
    bound = norm(outside @ linear, 2) + rest * norm(a - linear, 2)
    return Evidence(measured, bound / values[..., RANK - 1])


_draw_two = functools.partial(draw_teachers, inner=RANK + 2)

CLAIMS = (
    Claim(
        name="alignment.rows_lora_ga",
        source="arXiv 2502.01235, theorem 3.1 and the comparison with LoRA-GA",
        statement="From LoRA-GA's start too the rows of B stay in the row space of G, if 2 r is at "
        "most r*, r = 1. N >= d.",
        formula="||B_t (I - V V^T)|| = 0 for all t, B_0 = c V_{r+1:2r}^T, 2 r <= r*",
        kind="identity",
        status="with a condition",
        instances=draw_teachers,
        measure=_lora_ga,
        control=Control("2 r = r* + 1", functools.partial(_lora_ga, rank=2)),
    ),
    Claim(
        name="alignment.transfer",
        source="proved in the statement; arXiv 2502.01235, proof of theorem 3.2, has no constants",
        statement="The alignment of A from that of its linear dynamics, at every step and for any "
        "start, as U_{r*}(A_t) is A_t times a matrix of norm 1/s_{r*}(A_t).",
        formula="||U_perp^T U_{r*}(A_t)||_2 <= (||U_perp^T A_t^lin||_2 + ||A_t - A_t^lin||_2) / "
        "s_{r*}(A_t)",
        kind="upper",
        status="new",
        instances=_draw_two,
        measure=_transfer,
        control=Control("without what was added", functools.partial(_transfer, rest=0.0)),
    ),
)
