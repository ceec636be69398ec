"""Claims: variational dropout, which learns a rate for every weight.

Legend: Y (m, k), W (m, n), X (n, k) with rows x_j; weights are multiplied by independent noise of
mean 1 and variance alpha_ij; sigma^2 the variance of the targets. The divergence of the noise from
a log-uniform prior is -1/2 sum log alpha_ij up to a constant, for small rates.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, squared_norm
from linear_theory.structure.dropout.instances import ROUNDING, SOURCE

OUTPUTS, INPUTS, SAMPLES = 2, 3, 5
SIGNS = np.array(list(itertools.product([-1.0, 1.0], repeat=OUTPUTS * INPUTS)))


class Problem(NamedTuple):
    """targets Y (n, 2, 5), weights W (n, 2, 3), inputs X (n, 3, 5), variance sigma^2 (n,)."""

    targets: np.ndarray
    weights: np.ndarray
    inputs: np.ndarray
    variance: np.ndarray


def draw_problems(key, trials: int) -> Problem:
    """Gaussian arrays, variances from .01 to 1.

    Example:
      >>> import jax
      >>> draw_problems(jax.random.key(0), 2).weights.shape
      (2, 2, 3)
    """
    rng = generator(key)
    shapes = (OUTPUTS, SAMPLES), (OUTPUTS, INPUTS), (INPUTS, SAMPLES)
    arrays = (rng.standard_normal((trials, *shape)) for shape in shapes)
    return Problem(*arrays, 10 ** rng.uniform(-2, 0, trials))


def _free_energy(problem: Problem, rates: np.ndarray) -> np.ndarray:
    """E ||Y - (W * z) X||^2 / (2 sigma^2) - 1/2 sum log alpha, z = 1 +- alpha^{1/2}, (n,)."""
    noise = 1 + SIGNS.reshape(-1, 1, OUTPUTS, INPUTS) * np.sqrt(rates)
    losses = squared_norm(problem.targets - noise * problem.weights @ problem.inputs)
    return losses.mean(axis=0) / (2 * problem.variance) - np.log(rates).sum(axis=(1, 2)) / 2


def _learnt(problem: Problem, common: bool = False) -> Evidence:
    variance = problem.variance[:, None, None]
    energy = np.sum(problem.inputs**2, axis=2)[:, None]
    strength = problem.weights**2 * energy / variance
    rates = 1 / strength
    if common:
        rates = np.ones_like(strength) / strength.mean(axis=(1, 2), keepdims=True)
    loss = squared_norm(problem.targets - problem.weights @ problem.inputs)
    penalty = (1 + np.log(strength)).sum(axis=(1, 2)) / 2
    least = loss / (2 * problem.variance) + penalty
    error = np.abs(_free_energy(problem, rates) - least)
    return Evidence(error, 0.1 * ROUNDING * (1 + loss / problem.variance))


CLAIMS = (
    Claim(
        name="dropout.variational",
        source=f"{SOURCE}, example 4.1; arXiv 1506.02557; derived here",
        statement="Learnt rates, small ones: the best is sigma^2/(w^2 ||x||^2), more noise on what "
        "matters less, and it leaves a logarithm of every weight as the penalty, where fixed rates "
        "leave its square.",
        formula="min_alpha E ||Y - (W*z) X||^2/(2 sigma^2) - 1/2 sum log alpha_ij = ||Y - W X||^2"
        "/(2 sigma^2) + 1/2 sum (1 + log(w_ij^2 ||x_j||^2/sigma^2))",
        kind="identity",
        status="new",
        instances=draw_problems,
        measure=_learnt,
        control=Control(
            "the best rate that all weights share", functools.partial(_learnt, common=True)
        ),
    ),
)
