"""Claims: the start from the singular vectors of the first gradient, and one step along it.

Legend: as in `spectral_initialisation` and `linear_teacher`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.linear_teacher import Teacher, draw_teachers
from linear_theory.adaptation.spectral_initialisation import theory as spectral
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK = 3
D, SAMPLES = 8, 50
FEW = 10  # so few that the best fixed step is far from 1
EPS = np.finfo(float).eps


def _gradient(teacher: Teacher) -> np.ndarray:
    return teacher.gram @ teacher.delta


def _start(teacher: Teacher, root: bool = True) -> Evidence:
    """For r = r*, r* + 1 and r* + 2; without the root of the singular values the scale is lost."""
    gradient = _gradient(teacher)
    predicted = gradient - teacher.delta
    errors = []
    for rank in range(RANK, RANK + 3):
        a, b = spectral.spectral_factors(gradient, rank)
        if not root:
            a, b = a / np.linalg.norm(a, axis=1)[:, None], b / np.linalg.norm(b, axis=2)[..., None]
        errors.append(norm(a @ b - teacher.delta - predicted))
    # A singular value decomposition is exact for a matrix within a few K eps ||G||, K = 8.
    return Evidence(np.stack(errors, 1), 64 * EPS * norm(gradient)[:, None])


def _mean_error(teacher: Teacher, d: int = D) -> Evidence:
    a, b = spectral.spectral_factors(_gradient(teacher), RANK)
    risk = norm(a @ b - teacher.delta) ** 2 / norm(teacher.delta) ** 2
    return Evidence(risk, spectral.mean_error(d, SAMPLES))


def _step(teacher: Teacher, fixed: bool = False) -> Evidence:
    """The minimum of the parabola through the risks of three steps, against the formula."""
    gradient, delta = _gradient(teacher), teacher.delta
    low, middle, high = (norm(eta * gradient - delta) ** 2 for eta in (0.0, 1.0, 2.0))
    vertex = 1 - (high - low) / 2 / (high - 2 * middle + low)
    step = spectral.best_step(gradient, delta)
    if fixed:
        step = np.full_like(step, spectral.best_fixed_step(*delta.shape[1:2], len(teacher.x[0])))
    # The second difference is 2 ||G||^2, of risks that round by a few eps of their largest.
    largest = np.maximum(np.maximum(low, middle), high)
    return Evidence(np.abs(vertex - step), 32 * EPS * largest / norm(gradient) ** 2)


def _risk_of_fixed(teacher: Teacher, full: bool = False) -> Evidence:
    eta = 1.0 if full else spectral.best_fixed_step(D, FEW)
    risk = norm(eta * _gradient(teacher) - teacher.delta) ** 2 / norm(teacher.delta) ** 2
    ratio = spectral.mean_error(D, FEW)
    return Evidence(risk, ratio / (1 + ratio))


def _risk_of_best(teacher: Teacher, eta: float | None = None) -> Evidence:
    """No step along G has a lower risk than 1 - cos^2(G, Delta)."""
    gradient, delta = _gradient(teacher), teacher.delta
    best = spectral.best_step(gradient, delta)
    steps = np.stack([0 * best, 0.5 * best, best, 1.5 * best, np.ones_like(best)], axis=1)
    risk = norm(steps[:, :, None, None] * gradient[:, None] - delta[:, None]) ** 2
    target = norm(delta) ** 2
    cosine = (gradient * delta).sum(axis=(1, 2)) / norm(gradient) / np.sqrt(target)
    bound = target * (1 - cosine**2)
    if eta is not None:
        bound = norm(eta * gradient - delta) ** 2
    return Evidence(risk, bound[:, None])


_draw = functools.partial(draw_teachers, d=D, k=4, samples=SAMPLES, rank=RANK)

CLAIMS = (
    Claim(
        name="spectral_initialisation.exact",
        source="arXiv 2502.01235, proposition 3.3",
        statement="The start from the singular vectors of G misses Delta by what S misses I, for"
        " r >= r* and gamma = 1.",
        formula="A_0 B_0 - Delta = (S - I) Delta",
        kind="identity",
        status="as printed",
        instances=draw_teachers,
        measure=_start,
        control=Control(
            "A_0 = U_r, B_0 = V_r^T without S_r^{1/2}", functools.partial(_start, root=False)
        ),
    ),
    Claim(
        name="spectral_initialisation.mean_error",
        source="proved in spectral_initialisation.mean_error; arXiv 2502.01235, proposition 3.3",
        statement="Its mean error for Gaussian inputs: eps^2 N must exceed (d + 1)||Delta||_F^2/"
        "s_1^2, N > d alone is not enough.",
        formula="E ||A_0 B_0 - Delta||_F^2 = (d + 1)/N ||Delta||_F^2",
        kind="mean",
        status="with a condition",
        instances=_draw,
        measure=_mean_error,
        control=Control(
            "r* in place of d: as many samples as directions learned",
            functools.partial(_mean_error, d=RANK),
        ),
    ),
    Claim(
        name="spectral_initialisation.best_step",
        source="spectral_initialisation.best_step",
        statement="The best single step along the full gradient.",
        formula="argmin_eta ||eta G - Delta||_F = <G, Delta>/||G||_F^2",
        kind="identity",
        status="new",
        instances=draw_teachers,
        measure=_step,
        control=Control("1/(1 + (d + 1)/N)", functools.partial(_step, fixed=True)),
    ),
    Claim(
        name="spectral_initialisation.best_step_risk",
        source="spectral_initialisation.best_step",
        statement="No step along the full gradient gets below the angle between G and Delta.",
        formula="||eta G - Delta||_F^2 >= (1 - cos^2(G, Delta)) ||Delta||_F^2",
        kind="lower",
        status="new",
        instances=draw_teachers,
        measure=_risk_of_best,
        control=Control("the risk at eta = 1", functools.partial(_risk_of_best, eta=1.0)),
    ),
    Claim(
        name="spectral_initialisation.fixed_step_risk",
        source="spectral_initialisation.best_fixed_step",
        statement="The mean risk of the best step that is chosen without knowing Delta.",
        formula="E ||eta G - Delta||_F^2/||Delta||_F^2 = c/(1 + c), eta = 1/(1 + c), c = (d + 1)/N",
        kind="mean",
        status="new",
        instances=functools.partial(_draw, samples=FEW),
        measure=_risk_of_fixed,
        control=Control(
            "eta = 1, the spectral start", functools.partial(_risk_of_fixed, full=True)
        ),
    ),
)
