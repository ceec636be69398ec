"""Claims: the rate of plain gradient descent from the spectral start, and its conditioning.

Legend: as in `factored_descent` and `linear_teacher`; r = r*, one step size eta.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.factored_descent import theory as factored_descent
from linear_theory.adaptation.linear_teacher import (
    Teacher,
    draw_teachers,
    follow,
    gradient_step,
    per_trial,
)
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK, FITS = 2, 96
STEP = 0.25
STEPS, LONG = 400, 100
KAPPAS = (4.0, 8.0, 16.0)
FLOOR = 1e-11  # below it rounding shows
# What faster modes leave in the last factor: SEPARATION of 1 - eta mu, which is a tenth or so,
# times a ratio of amplitudes that is hardly ever above 10. Rounding of an error at FLOOR is less.
SEPARATION, TOLERANCE = 1e-4, 1e-4
# The constant c moves with kappa between l_min(S) and u^T S u as one singular value decouples from
# the others; from kappa = 4 on what is left of that is of relative order 1/kappa^2 = 0.06.
KAPPA_TOLERANCE = 0.06


def _path(teacher: Teacher, delta: np.ndarray, steps: int):
    """Factors and ||A_t B_t - Delta||_F over steps from the spectral start."""
    start = spectral_factors(teacher.gram @ delta, RANK)
    a, b = follow(gradient_step(teacher._replace(delta=delta), STEP, STEP), *start, steps)
    return a, b, norm(a @ b - delta[:, None])


def _rate(teacher: Teacher, population: bool = False) -> Evidence:
    a, b, errors = _path(teacher, teacher.delta, STEPS)
    last = np.maximum((errors > FLOOR).sum(axis=1) - 1, 1)
    at = np.arange(len(errors))
    measured = errors[at, last] / errors[at, last - 1]
    rates = factored_descent.decay_rates(teacher.gram, a[:, -1], b[:, -1])
    factors = np.sort(np.abs(1 - STEP * rates), axis=1)
    separated = (factors[:, -2] / factors[:, -1]) ** last < SEPARATION
    predicted = 1 - STEP * teacher.values[:, -1] if population else factors[:, -1]
    return Evidence(measured, predicted, separated, TOLERANCE)


def _slowest(teacher: Teacher) -> np.ndarray:
    scale = np.sqrt(teacher.values)
    a, b = teacher.left * scale[:, None], scale[..., None] * teacher.right.mT
    return factored_descent.decay_rates(teacher.gram, a, b)[:, 0]


def _bounds(teacher: Teacher):
    return factored_descent.slowest_rate_bounds(teacher.gram, teacher.left, teacher.values)


def _at_least(teacher: Teacher) -> Evidence:
    return Evidence(_slowest(teacher), _bounds(teacher)[0])


def _at_least_population(teacher: Teacher) -> Evidence:
    return Evidence(_slowest(teacher), teacher.values[:, -1])


def _at_most(teacher: Teacher, lower: bool = False) -> Evidence:
    return Evidence(_slowest(teacher), _bounds(teacher)[0 if lower else 1])


def _envelope(teacher: Teacher, share: float = 0.5) -> Evidence:
    """At every step, for step sizes from .1 to .5 over ||S||_2^2."""
    values = np.linalg.eigvalsh(teacher.gram)
    step = per_trial((0.1 + 0.4 * teacher.uniform[:, 0]) / values[:, -1] ** 2)
    start = spectral_factors(teacher.gram @ teacher.delta, RANK)
    a, b = follow(gradient_step(teacher, step, step), *start, LONG)
    errors = norm(a @ b - teacher.delta[:, None])
    factor = 1 - share * step[:, 0] * teacher.values[:, -1:]
    bound = factor ** np.arange(LONG + 1) * errors[:, :1]
    return Evidence(errors, bound, (values[:, :1] >= 0.5) & (errors > FLOOR))


def _conditioning(teacher: Teacher, free: bool = False) -> Evidence:
    """Steps to 1e-4 s_{r*} ||R_0|| for three kappa on one design, as a power of kappa; s_1 = 1.

    The slowest mode starts with an amplitude proportional to s_{r*}.
    """
    counts = []
    for kappa in KAPPAS:
        delta = (teacher.left * [1.0, 1 / kappa]) @ teacher.right.mT
        errors = _path(teacher, delta, int(75 * kappa))[2]
        counts.append((errors > 1e-4 * errors[:, :1] / kappa).sum(axis=1))
    counts = np.stack(counts, axis=1)
    steps = np.log(KAPPAS) - np.mean(np.log(KAPPAS))
    slope = np.log(counts) @ steps / (steps @ steps)
    premise = (counts < 75 * np.array(KAPPAS)).all(axis=1)
    return Evidence(slope, np.full(len(slope), 0.0 if free else 1.0), premise, KAPPA_TOLERANCE)


def draw_fits(key, trials: int, samples: int = 24) -> Teacher:
    """d = 6 and few samples, so that the slowest mode is far from the next."""
    return draw_teachers(
        key, min(trials, FITS), d=6, k=5, samples=samples, rank=RANK, kappa=(1.5, 4.0)
    )


_SOURCE = "arXiv 2502.01235, theorem 3.5"

CLAIMS = (
    Claim(
        name="factored_descent.rate",
        source=_SOURCE,
        statement="The factor per step by which gradient descent converges in the end, from the"
        " modes of the minimum it reaches: 1 - c eta s_{r*} with c < 1 at finite N.",
        formula="||R_{t+1}||/||R_t|| -> max |1 - eta mu|, mu in spec(R -> S R B^T B + A A^T S R)",
        kind="fit",
        status="corrected",
        instances=draw_fits,
        measure=_rate,
        control=Control("c = 1, as for S = I", functools.partial(_rate, population=True)),
    ),
    Claim(
        name="factored_descent.rate_at_least",
        source="proved in factored_descent.slowest_rate_bounds",
        statement="The slowest mode of a balanced minimum.",
        formula="mu_min >= l_min(S) s_{r*}",
        kind="lower",
        status="new",
        instances=draw_teachers,
        measure=_at_least,
        control=Control("mu_min >= s_{r*}", _at_least_population),
    ),
    Claim(
        name="factored_descent.rate_at_most",
        source="proved in factored_descent.slowest_rate_bounds",
        statement="The slowest mode of a balanced minimum is slow for a small s_{r*}.",
        formula="mu_min <= s_{r*} u^T S u",
        kind="upper",
        status="new",
        instances=draw_teachers,
        measure=_at_most,
        control=Control("mu_min <= l_min(S) s_{r*}", functools.partial(_at_most, lower=True)),
    ),
    Claim(
        name="factored_descent.conditioning",
        source=_SOURCE,
        statement="Iterations of gradient descent from the spectral start, to an error relative to"
        " s_{r*}, grow like kappa.",
        formula="d ln t_eps / d ln kappa -> 1",
        kind="fit",
        status="as printed",
        instances=functools.partial(draw_fits, samples=60),
        measure=_conditioning,
        control=Control(
            "no dependence, as for the preconditioned method",
            functools.partial(_conditioning, free=True),
        ),
    ),
    Claim(
        name="factored_descent.envelope",
        source="arXiv 2502.01235, theorem 3.5",
        statement="From the spectral start the error is below a geometric envelope from the first "
        "step on, in units of the first error, where l_min(S) >= 1/2 and eta <= 1/(2 ||S||_2^2).",
        formula="||R_t||_F <= (1 - eta s_{r*}/2)^t ||R_0||_F",
        kind="upper",
        status="with a condition",
        instances=functools.partial(draw_teachers, samples=200, rank=RANK, kappa=(1.0, 20.0)),
        measure=_envelope,
        control=Control("1 - eta s_{r*}, as for S = I", functools.partial(_envelope, share=1.0)),
    ),
)
