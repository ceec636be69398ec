"""Claims: preconditioned descent, its exact update, and that kappa is not in its path.

Legend: as in `preconditioning` and `linear_teacher`; runs start from the singular vectors of G
unless they say otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from linear_theory.adaptation.linear_teacher import (
    Teacher,
    draw_teachers,
    follow,
    gradient_step,
    per_trial,
)
from linear_theory.adaptation.preconditioning import theory as preconditioning
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK = 3
EPS = np.finfo(float).eps
DAMPING = 1e-3


def linear_slope(teacher: Teacher) -> Callable:
    """The gradient of the loss in the product, as a function of the product."""
    return lambda product: teacher.gram @ (product - teacher.delta)


def stepping(slope: Callable, step_size, damping: float = 0.0) -> Callable:
    """One step; factors that have lost their rank or diverged stay as they are, without inverse."""

    def step(a, b):
        ridge = damping * np.eye(a.shape[2])
        regular = per_trial(_regular(a.mT @ a + ridge) & _regular(b @ b.mT + ridge))
        some = np.eye(a.shape[1], a.shape[2]), np.eye(b.shape[1], b.shape[2])
        safe_a, safe_b = np.where(regular, a, some[0]), np.where(regular, b, some[1])
        moved = preconditioning.preconditioned_step(
            slope(safe_a @ safe_b), safe_a, safe_b, step_size, damping
        )
        return np.where(regular, moved[0], a), np.where(regular, moved[1], b)

    return step


def _regular(gram: np.ndarray) -> np.ndarray:
    """Where a Gram matrix is invertible in double precision, and not too large to go on."""
    size = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
    return (size < 1e12) & (np.linalg.det(gram / per_trial(size)) > 1e-13)


def products(teacher: Teacher, step_size, steps: int):
    """A_t B_t (trials, steps + 1, d, k) from the spectral start, r = r*."""
    start = spectral_factors(teacher.gram @ teacher.delta, teacher.values.shape[1])
    a, b = follow(stepping(linear_slope(teacher), step_size), *start, steps)
    return a @ b


def _any_factors(teacher: Teacher) -> tuple[np.ndarray, np.ndarray]:
    return teacher.start, teacher.noise[:, :RANK]


def _condition(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How much the inverses of the two Gram matrices amplify rounding: cond(A)^2 + cond(B)^2."""
    return np.linalg.cond(a) ** 2 + np.linalg.cond(b) ** 2


def _product(teacher: Teacher, second_order: bool = True) -> Evidence:
    a, b = _any_factors(teacher)
    slope = teacher.gram @ (a @ b - teacher.delta)
    step_size = per_trial(teacher.uniform[:, 0])
    first, second = preconditioning.preconditioned_step(slope, a, b, step_size)
    stated = preconditioning.product_step(slope, a @ b, RANK, step_size)
    if not second_order:
        left, values, right = np.linalg.svd(a @ b, full_matrices=False)
        cut = (left[..., :RANK] / values[:, None, :RANK]) @ right[:, :RANK]
        stated = stated - step_size**2 * slope @ cut.mT @ slope
    # Z, eta M and eta^2 M Z^+ M, which is at most ||M||^2 over the least singular values.
    least = norm(a, -2) * norm(b, -2)
    size = norm(a) * norm(b) + norm(slope) + norm(slope) ** 2 / least
    return Evidence(norm(first @ second - stated), 4 * EPS * _condition(a, b) * size)


def _invariance(teacher: Teacher, plain: bool = False) -> Evidence:
    """A change of basis A C, C^{-1} B with cond(C) up to 10, eight steps."""
    a, b = 0.3 * teacher.start, 0.3 * teacher.noise[:, :RANK]
    left, _, right = np.linalg.svd(teacher.noise[:, :RANK, :RANK])
    change = (left * [3.0, 1.0, 0.3]) @ right
    step = stepping(linear_slope(teacher), 0.2, damping=0.0)
    if plain:
        step = gradient_step(teacher, 0.05, 0.05)
    one = follow(step, a, b, 8)
    other = follow(step, a @ change, np.linalg.inv(change) @ b, 8)
    error = norm(one[0] @ one[1] - other[0] @ other[1])
    # Every step inverts both Gram matrices of either pair and passes on what errors there are.
    conditions = sum(np.maximum.accumulate(_condition(*pair), axis=1) for pair in (one, other))
    products = norm(one[0] @ one[1]).max(axis=1, keepdims=True)
    return Evidence(error, 4 * EPS * conditions * (1 + products))


def _without_kappa(teacher: Teacher, plain: bool = False) -> Evidence:
    """(Z_t - Delta) V Sigma^{-1} for Delta, and for all singular values 1."""
    flat = teacher._replace(delta=teacher.left @ teacher.right.mT)
    whiten = teacher.right / teacher.values[:, None]
    paths = []
    for each, undo in ((teacher, whiten), (flat, teacher.right)):
        if plain:
            start = spectral_factors(each.gram @ each.delta, RANK)
            a, b = follow(gradient_step(each, 0.3, 0.3), *start, 20)
            path = a @ b
        else:
            path = products(each, 0.3, 20)
        paths.append((path - each.delta[:, None]) @ undo[:, None])
    # Inverting B B^T amplifies rounding by kappa, and so does undoing the singular values; the
    # method contracts errors, so that those of single steps add up at most.
    kappa = (teacher.values[:, 0] / teacher.values[:, -1])[:, None]
    return Evidence(norm(paths[0] - paths[1]), 256 * EPS * kappa**2 * (1 + np.arange(21)))


def _over_rank(teacher: Teacher, extra: float = 0.0) -> Evidence:
    """Products of r = r* + 2 against r = r*, damped alike; the further directions start at `extra`.

    They have no gradient where both are 0. The singular values that rounding makes of 0 must be
    cut: their roots are of size 1e-8 and grow by up to 1 + eta ||S R||/lam a step.
    """
    start = spectral_factors(teacher.gram @ teacher.delta, RANK)
    more = extra * teacher.start[:, :, :2], extra * teacher.noise[:, :2]
    padded = np.concatenate([start[0], more[0]], axis=2), np.concatenate([start[1], more[1]], 1)
    step = stepping(linear_slope(teacher), 0.3, DAMPING)
    exact, over = (np.matmul(*follow(step, *factors, 40)) for factors in (start, padded))
    # The same sums with zeros between their terms, which may change their order.
    return Evidence(norm(over - exact), np.full((len(over), 41), 16 * EPS))


_SOURCE = "arXiv 2502.01235, theorem 3.6"

CLAIMS = (
    Claim(
        name="preconditioning.product",
        source="preconditioning.product_step; " + _SOURCE,
        statement="One step moves the product by an expression in the product alone.",
        formula="Z+ = Z - eta (P_A M + M P_B) + eta^2 M Z^+ M, M = S (Z - Delta)",
        kind="identity",
        status="new",
        instances=draw_teachers,
        measure=_product,
        control=Control(
            "without the term in eta^2", functools.partial(_product, second_order=False)
        ),
    ),
    Claim(
        name="preconditioning.invariance",
        source=_SOURCE,
        statement="Products do not depend on the basis of the factors, whatever C is.",
        formula="(A C, C^{-1} B) and (A, B) have the same A_t B_t",
        kind="identity",
        status="as printed",
        instances=draw_teachers,
        measure=_invariance,
        control=Control("gradient descent", functools.partial(_invariance, plain=True)),
    ),
    Claim(
        name="preconditioning.kappa_independence",
        source="proved in preconditioning.proved_rate; " + _SOURCE,
        statement="From the spectral start the whole path, not only its rate, is the same for all"
        " singular values of Delta, in units of these; r = r*.",
        formula="(Z_t - Delta) V Sigma^{-1} does not depend on Sigma",
        kind="identity",
        status="new",
        instances=functools.partial(draw_teachers, kappa=(3.0, 100.0)),
        measure=_without_kappa,
        control=Control("gradient descent", functools.partial(_without_kappa, plain=True)),
    ),
    Claim(
        name="preconditioning.over_rank",
        source="arXiv 2502.01235, damping for r > r*",
        statement="With damping, a rank above r* changes nothing from the spectral start, where"
        " B_0 B_0^T is singular, if its zero singular values are zero and not of rounding size.",
        formula="A_t B_t for r > r* = A_t B_t for r = r*, lam > 0",
        kind="identity",
        status="with a condition",
        instances=draw_teachers,
        measure=_over_rank,
        control=Control(
            "the further directions start at 0.01 of a Gaussian",
            functools.partial(_over_rank, extra=0.01),
        ),
    ),
)
