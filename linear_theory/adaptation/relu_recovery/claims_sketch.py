"""Claims: the two steps of the proof for ReLU layers, projections and Wedin.

Legend: as in `relu_recovery`; Z = A B, P_A and P_B the projectors on the columns of
A and the rows of B, J the direction of GLM-tron at W + Z, U the left singular vectors of Delta.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.arc_cosine import theory as arc_cosine
from linear_theory.adaptation.linear_teacher import Teacher, follow, per_trial
from linear_theory.adaptation.preconditioning import theory as preconditioning
from linear_theory.adaptation.preconditioning.claims_steps import stepping
from linear_theory.adaptation.relu_recovery.claims import GAMMA, draw_many
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK, STEPS = 2, 20
EPS = np.finfo(float).eps

draw_few = functools.partial(draw_many, samples=200)


def slope_of(teacher: Teacher):
    """-J as a function of Z."""
    weights = teacher.noise[:, : teacher.delta.shape[1]]
    targets = np.maximum(teacher.x @ (weights + teacher.delta), 0)
    return lambda product: -arc_cosine.glm_direction(teacher.x, weights + product, targets)


def path(teacher: Teacher, damping: float = 0.0) -> np.ndarray:
    """Z_t (trials, STEPS + 1, d, k) from the spectral start."""
    slope = slope_of(teacher)
    step_size = per_trial(0.2 + 0.6 * teacher.uniform[:, 0])
    start = spectral_factors(-slope(0.0), RANK, GAMMA)
    return np.matmul(*follow(stepping(slope, step_size, damping), *start, STEPS))


def _product(teacher: Teacher, projected: bool = True) -> Evidence:
    """From factors that are far from Delta, with changed steps."""
    a, b = teacher.start, teacher.noise[:, -RANK:]
    slope, step_size = slope_of(teacher)(a @ b), per_trial(teacher.uniform[:, 0])
    first, second = preconditioning.preconditioned_step(slope, a, b, step_size)
    stated = preconditioning.product_step(slope, a @ b, RANK, step_size)
    if not projected:
        stated = a @ b - 2 * step_size * slope
    condition = np.linalg.cond(a) ** 2 + np.linalg.cond(b) ** 2
    size = norm(a) * norm(b) + norm(slope) + norm(slope) ** 2 / (norm(a, -2) * norm(b, -2))
    return Evidence(norm(first @ second - stated), 4 * EPS * condition * size)


def _subspace(teacher: Teacher, smallest: bool = True) -> Evidence:
    """||(I - P_A) U||_2 along a run, in the directions of the columns of Z_t."""
    products = path(teacher)
    rest = norm(products - teacher.delta[:, None], 2)
    columns = np.linalg.svd(products)[0][..., :RANK]
    outside = teacher.left[:, None] - columns @ (columns.mT @ teacher.left[:, None])
    value = teacher.values[:, -1 if smallest else 0]
    return Evidence(norm(outside, 2), rest / value[:, None])


_SOURCE = "arXiv 2502.01235, theorem 4.3"

CLAIMS = (
    Claim(
        name="relu_recovery.product",
        source=f"{_SOURCE}, sketch; preconditioning.product_step",
        statement="A step along any direction, of a ReLU layer too, moves the product by the "
        "direction on the columns of A and on the rows of B, and a square.",
        formula="Z+ = Z + eta (P_A J + J P_B) + eta^2 J Z^+ J",
        kind="identity",
        status="with a condition",
        instances=draw_few,
        measure=_product,
        control=Control("without projections", functools.partial(_product, projected=False)),
    ),
    Claim(
        name="relu_recovery.subspace",
        source=f"{_SOURCE}, sketch; Wedin",
        statement="The columns of A are as near to those of Delta as the error is to the least "
        "singular value, at every step: the projections lose less than all of Delta from a start "
        "within it.",
        formula="||(I - P_A) U||_2 <= ||Z - Delta||_2 / s_{r*}(Delta)",
        kind="upper",
        status="as printed",
        instances=draw_few,
        measure=_subspace,
        control=Control("s_1 in its place", functools.partial(_subspace, smallest=False)),
    ),
)
