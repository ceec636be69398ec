"""Claims: how far the start from one gradient is off, by the law of the inputs and in the tail.

Legend: as in `spectral_initialisation` and `linear_teacher`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.adaptation.linear_teacher import FOURTH, by_law
from linear_theory.adaptation.spectral_initialisation import theory as spectral
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm, orthogonal

RANK, D, OUTPUTS, SAMPLES = 2, 4, 5, 12
MISSES = (0.5, 0.2, 0.1, 0.05)
DRAWS, MANY = 64, 40


class Sample(NamedTuple):
    """Inputs of each of the laws (n, 3, N, d), and Delta (n, 1, d, k) of rank r*."""

    x: np.ndarray
    delta: np.ndarray


def draw_laws(key, trials: int) -> Sample:
    """Inputs with independent entries, of the three `linear_teacher.LAWS`.

    Example:
      >>> import jax
      >>> draw_laws(jax.random.key(0), 2).x.shape
      (2, 3, 12, 4)
    """
    rng = generator(key)
    x = np.moveaxis(by_law(rng, trials, SAMPLES, D), 0, 1)
    left, right = orthogonal(rng, trials, 1, D, RANK), orthogonal(rng, trials, 1, RANK, OUTPUTS)
    delta = left * rng.uniform(0.3, 1, (trials, 1, 1, RANK)) @ right
    return Sample(x, delta)


def draw_deviations(key, trials: int) -> np.ndarray:
    """||S - I||_2 of 64 draws of N = 40 Gaussian inputs per instance, (n, 64).

    Example:
      >>> import jax
      >>> draw_deviations(jax.random.key(0), 2).shape
      (2, 64)
    """
    x = generator(key).standard_normal((trials, DRAWS, MANY, D))
    values = np.linalg.eigvalsh(x.mT @ x / MANY)
    return np.maximum(values[..., -1] - 1, 1 - values[..., 0])


def _mean_error(sample: Sample, gaussian: bool = False) -> Evidence:
    """Relative squared error (n, 3)."""
    gram = sample.x.mT @ sample.x / SAMPLES
    a, b = spectral.spectral_factors(gram @ sample.delta, RANK)
    risk = norm(a @ b - sample.delta) ** 2 / norm(sample.delta) ** 2
    fourth = np.full_like(FOURTH, 3.0) if gaussian else FOURTH
    return Evidence(risk, ((D - 2 + fourth) / SAMPLES)[None])


def _tail(deviations: np.ndarray, mean_alone: bool = False) -> Evidence:
    """Share of the draws in which no Delta is missed by more than the bound, against 1 - miss."""
    misses = np.array(MISSES)
    bound = spectral.deviation(D, MANY, misses)
    if mean_alone:
        bound = np.full_like(misses, np.sqrt(spectral.mean_error(D, MANY)))
    inside = np.mean(deviations[:, :, None] <= bound, axis=1)
    return Evidence(inside, (1 - misses)[None])


CLAIMS = (
    Claim(
        name="spectral_initialisation.mean_error_by_law",
        source="arXiv 2502.01235, proposition 3.3, whose inputs are sub-Gaussian; computed here",
        statement="Its mean error for inputs with independent entries of any law: of the law the "
        "fourth moment counts. Signs, uniform and sparse entries.",
        formula="E ||A_0 B_0 - Delta||_F^2 = (d - 2 + E x^4)/N ||Delta||_F^2, E x^2 = 1",
        kind="mean",
        status="new",
        instances=draw_laws,
        measure=_mean_error,
        control=Control(
            "E x^4 = 3, as of a Gaussian", functools.partial(_mean_error, gaussian=True)
        ),
    ),
    Claim(
        name="spectral_initialisation.tail",
        source="arXiv 2502.01235, proposition 3.3; Davidson and Szarek 2001",
        statement="Gaussian inputs: with probability 1 - miss the start misses no Delta by more "
        "than this share of it, as A_0 B_0 - Delta = (S - I) Delta.",
        formula="P(||A_0 B_0 - Delta|| <= (2 t + t^2) ||Delta|| for all Delta) >= 1 - miss, "
        "t = sqrt(d/N) + sqrt(2 ln(2/miss)/N)",
        kind="lower",
        status="with a condition",
        instances=draw_deviations,
        measure=_tail,
        control=Control(
            "the mean error of a fixed Delta", functools.partial(_tail, mean_alone=True)
        ),
    ),
)
