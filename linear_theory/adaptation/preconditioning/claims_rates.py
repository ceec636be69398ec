"""Claims: the rates of preconditioned descent, and when they stay below an envelope.

Legend: as in `preconditioning` and `linear_teacher`; runs start from the singular vectors of G
unless they say otherwise.
"""

from __future__ import annotations

import functools

import jax
import numpy as np

from linear_theory.adaptation.linear_teacher import (
    Teacher,
    by_law,
    draw_teachers,
    follow,
    per_trial,
)
from linear_theory.adaptation.preconditioning import theory as preconditioning
from linear_theory.adaptation.preconditioning.claims_steps import linear_slope, products, stepping
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm

RANK, FITS = 3, 64
FLOOR = 1e-11
# As for plain descent: faster modes have lost four digits against the slowest, and change the last
# factor by no more than what is left of them.
SEPARATION, TOLERANCE = 1e-4, 1e-4


def _population(teacher: Teacher, printed: bool = False) -> Evidence:
    """From near Delta, in both spaces: S = I."""
    step_size = 0.1 + 0.85 * teacher.uniform[:, 0]
    # Near 1 - eta = 2 eta - 1 two modes are equally slow, of either sign.
    apart = np.abs(step_size - 2 / 3) > 0.05
    near = teacher.delta + 1e-3 * teacher.noise * teacher.values[:, None, -1:]
    start = spectral_factors(near, RANK)
    a, b = follow(stepping(linear_slope(teacher), per_trial(step_size)), *start, 120)
    return _last_factor(
        norm(a @ b - teacher.delta[:, None]),
        1 - step_size / 2 if printed else np.asarray(preconditioning.population_rate(step_size)),
        apart,
    )


def _last_factor(errors: np.ndarray, predicted: np.ndarray, premise) -> Evidence:
    last = np.maximum((errors > FLOOR).sum(axis=1) - 1, 1)
    at = np.arange(len(errors))
    converged = errors[:, -1] < 1e-2 * errors[:, 0]
    measured = errors[at, last] / errors[at, last - 1]
    return Evidence(measured, predicted, premise & converged, TOLERANCE)


def _sample_rate(teacher: Teacher, lowest: bool = False) -> Evidence:
    step_size = 0.1 + 0.3 * teacher.uniform[:, 0]
    errors = norm(products(teacher, per_trial(step_size), 250) - teacher.delta[:, None])
    modes = preconditioning.mode_factors(teacher.gram, teacher.left)
    factors = np.sort(np.abs(1 - step_size[:, None] * modes), axis=1)
    last = (errors > FLOOR).sum(axis=1)
    separated = (factors[:, -2] / factors[:, -1]) ** last < SEPARATION
    predicted = factors[:, -1]
    if lowest:
        predicted = 1 - step_size * np.linalg.eigvalsh(teacher.gram)[:, 0]
    return _last_factor(errors, predicted, separated & (factors[:, -1] < 0.95))


def _deviation(teacher: Teacher) -> np.ndarray:
    return norm(teacher.gram - np.eye(teacher.gram.shape[1]), 2)


def _envelope(teacher: Teacher, low=0.1, high=0.5, proved=True) -> Evidence:
    """In the coordinates of the theorem; without `proved`, under the conditions of the notes."""
    step_size = low + (high - low) * teacher.uniform[:, 0]
    path = products(teacher, per_trial(step_size), 30)
    whiten = (teacher.right / teacher.values[:, None])[:, None]
    errors = norm((path - teacher.delta[:, None]) @ whiten)
    bound = (1 - step_size / 2)[:, None] ** np.arange(31) * errors[:, :1]
    deviation = _deviation(teacher)
    if proved:
        premise = np.asarray(preconditioning.proved_rate(step_size, deviation)) <= 1 - step_size / 2
    else:
        eigenvalues = np.linalg.eigvalsh(teacher.gram)
        premise = (eigenvalues[:, 0] > 0.5) & (step_size * eigenvalues[:, -1] < 1)
    return Evidence(errors, bound, premise[:, None])


def _proved(teacher: Teacher, deviation: float = 1.0) -> Evidence:
    step_size = 0.05 + 0.75 * teacher.uniform[:, 0]
    path = products(teacher, per_trial(step_size), 30)
    errors = norm(
        (path - teacher.delta[:, None]) @ (teacher.right / teacher.values[:, None])[:, None]
    )
    known = _deviation(teacher)
    rate = np.asarray(preconditioning.proved_rate(step_size, deviation * known))
    bound = rate[:, None] ** np.arange(31) * errors[:, :1]
    return Evidence(
        errors, bound, (np.asarray(preconditioning.proved_rate(step_size, known)) <= 1)[:, None]
    )


def draw_fits(key, trials: int) -> Teacher:
    """Small d and N/d = 6: modes are far apart."""
    return draw_teachers(key, min(trials, FITS), d=5, k=4, samples=30, rank=2, kappa=(1.0, 30.0))


def draw_laws(key, trials: int) -> Teacher:
    """Inputs of independent signs, uniform or sparse entries, of variance 1."""
    teacher, rng = _draw_many(key, trials), generator(jax.random.fold_in(key, 1))
    x = np.concatenate(by_law(rng, -(-trials // 3), *teacher.x.shape[1:]))[:trials]
    return teacher._replace(x=x, gram=x.mT @ x / x.shape[1])


_draw_population = functools.partial(draw_teachers, samples=None, kappa=(1.0, 10.0))
_draw_many = functools.partial(draw_teachers, d=6, k=5, samples=1600, kappa=(1.0, 30.0))
_SOURCE = "arXiv 2502.01235, theorem 3.6"

CLAIMS = (
    Claim(
        name="preconditioning.population_rate",
        source="preconditioning.population_rate; " + _SOURCE,
        statement="The factor per step in the end for S = I; eta = 1 oscillates for ever.",
        formula="||R_{t+1}||/||R_t|| -> max(1 - eta, |1 - 2 eta|)",
        kind="fit",
        status="corrected",
        instances=_draw_population,
        measure=_population,
        control=Control("as printed, 1 - eta/2", functools.partial(_population, printed=True)),
    ),
    Claim(
        name="preconditioning.sample_rate",
        source="preconditioning.mode_factors; " + _SOURCE,
        statement="The same from the spectral start at finite N, whatever the singular values of"
        " Delta.",
        formula="||R_{t+1}||/||R_t|| -> max |1 - eta nu|, nu in spec((I + P) S)",
        kind="fit",
        status="corrected",
        instances=draw_fits,
        measure=_sample_rate,
        control=Control("1 - eta l_min(S)", functools.partial(_sample_rate, lowest=True)),
    ),
    Claim(
        name="preconditioning.proved_rate",
        source="proved in preconditioning.proved_rate",
        statement="A rate at every step from the spectral start, while it is at most 1.",
        formula="||E_t||_F <= f^t ||E_0||_F, E = (Z - Delta) V Sigma^{-1}, f = max(1-eta, |1-2eta|)"
        " + 2 eta dev + eta^2 (1+dev)^2 dev/(1-dev)",
        kind="upper",
        status="new",
        instances=_draw_many,
        measure=_proved,
        control=Control("dev = 0, the population rate", functools.partial(_proved, deviation=0.0)),
    ),
    Claim(
        name="preconditioning.proved_rate_by_law",
        source="proved in preconditioning.proved_rate; arXiv 2502.01235, sub-Gaussian inputs",
        statement="The same for inputs that are not Gaussian, of signs, uniform or sparse entries: "
        "of the inputs S alone counts.",
        formula="||E_t||_F <= f^t ||E_0||_F, f as for Gaussian inputs",
        kind="upper",
        status="new",
        instances=draw_laws,
        measure=_proved,
        control=Control("dev = 0, the population rate", functools.partial(_proved, deviation=0.0)),
    ),
    Claim(
        name="preconditioning.envelope",
        source=_SOURCE,
        statement="The printed envelope, where f <= 1 - eta/2: N must be large and eta well below"
        " 4/5, and the error is in units of the singular values of Delta.",
        formula="||E_t||_F <= (1 - eta/2)^t ||E_0||_F where f(eta, dev) <= 1 - eta/2",
        kind="upper",
        status="with a condition",
        instances=_draw_many,
        measure=_envelope,
        control=Control(
            "eta in (0.65, 0.8) where l_min(S) > 1/2 and eta l_max(S) < 1",
            functools.partial(_envelope, low=0.65, high=0.8, proved=False),
            functools.partial(draw_teachers, d=6, k=5, samples=400),
        ),
    ),
)
