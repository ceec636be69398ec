"""Claims: what noise leaves of a map after deflation, and how the error splits.

Legend: as in `generalization`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator
from linear_theory.parallel.generalization import theory as generalization
from linear_theory.parallel.generalization.instances import VALUES, Sample, draw_sample, fits
from linear_theory.parallel.measured_run import run
from linear_theory.parallel.problems import RANK, draw, separated_spectrum
from linear_theory.perturbation.truncation import tail_norm

# Reference setting of the noise floor: one noise level for each point.
ROWS, COLUMNS, SAMPLES = 24, 30, 90
LEVELS = np.array([0.02, 0.05, 0.08, 0.1])
SMALL = LEVELS / 10
# A smaller one for what depends on n.
SMALL_ROWS, SMALL_COLUMNS, FEW, MANY = 8, 10, 14, 60


def _draw_reference(levels):
    return lambda key, trials: draw_sample(key, trials, (ROWS, COLUMNS, SAMPLES), levels)


def _floor(sample: Sample, order: int = 2) -> Evidence:
    """Squared output error at each noise level (trials, L), counted in samples."""
    rows, columns = sample.truth.shape[1:]
    b, a = fits(sample, len(VALUES))
    change = np.swapaxes(b[:, 1:], 2, 3) @ a[:, 1:] - sample.truth[:, None]
    measured = np.sum((change @ sample.x[:, None]) ** 2, axis=(2, 3))
    if order == 2:
        bound = generalization.noise_floor_second_order(rows, columns, VALUES, sample.levels)
    else:
        bound = generalization.noise_floor(rows, columns, len(VALUES), sample.levels)
    return Evidence(measured, bound[None])


def _floor_at_largest(sample: Sample) -> Evidence:
    evidence = _floor(sample, order=1)
    return Evidence(evidence.measured[:, -1:], evidence.bound[:, -1:])


def _component_floor(sample: Sample, alone: bool = False) -> Evidence:
    """Squared output error of every component at each noise level (trials, L, r)."""
    rows, columns = sample.truth.shape[1:]
    b, a = fits(sample, len(VALUES))
    outputs = b[..., None] * (a @ sample.x[:, None])[..., None, :]
    measured = np.sum((outputs[:, 1:] - outputs[:, :1]) ** 2, axis=(3, 4))
    levels = sample.levels[:, None]
    bound = generalization.component_noise_floor(rows, columns, VALUES, levels)
    if alone:
        bound = generalization.noise_floor(rows, columns, 1, levels) + 0 * bound
    return Evidence(measured, bound[None])


class TwoSizes(NamedTuple):
    """The same kind of sample with few and with many columns."""

    few: Sample
    many: Sample


def _draw_two_sizes(key, trials) -> TwoSizes:
    keys = jax.random.split(key)
    few, many = (
        draw_sample(one, trials, (SMALL_ROWS, SMALL_COLUMNS, samples), SMALL)
        for one, samples in zip(keys, (FEW, MANY), strict=True)
    )
    return TwoSizes(few, many)


def _sample_size(sizes: TwoSizes, of_output: bool = False) -> Evidence:
    measured, bound = [], []
    for sample in sizes:
        evidence = _floor(sample, order=1)
        measured.append(evidence.measured)
        inputs = sample.x.shape[2] if of_output else SMALL_COLUMNS
        floor = generalization.noise_floor(SMALL_ROWS, inputs, len(VALUES), sample.levels)
        bound.append(floor)
    return Evidence(np.concatenate(measured, axis=1), np.concatenate(bound)[None])


def _draw_map(key, trials) -> Sample:
    return draw_sample(key, trials, (ROWS, COLUMNS, SAMPLES), SMALL, of_map=True)


def _map_floor(sample: Sample, isotropic: bool = False) -> Evidence:
    """Squared error of the map at each noise level (trials, L)."""
    b, a = fits(sample, len(VALUES))
    change = np.swapaxes(b[:, 1:], 2, 3) @ a[:, 1:] - sample.truth[:, None]
    if isotropic:
        floor = generalization.noise_floor(ROWS, COLUMNS, len(VALUES), sample.levels)
        bound = floor / (SAMPLES - COLUMNS - 1)
    else:
        bound = generalization.map_noise_floor(
            *change.shape[2:], SAMPLES, len(VALUES), sample.levels
        )
    return Evidence(np.sum(change**2, axis=(2, 3)), bound[None])


def _draw_noisy(key, trials):
    """Noise from 0.01 to 0.3, uniform in its logarithm, in all of Y."""
    key_noise, key = jax.random.split(key)
    numbers = generator(key_noise)
    noise = 0.01 * 30 ** numbers.random(trials)
    return draw(key, trials, separated_spectrum, outside=0.0, noise=noise)


def _decomposition(problem, statistical: float = 1.0) -> Evidence:
    """Every round of a parallel run on the noisy targets (trials, L + 1)."""
    current = run(problem)
    x, signal = np.asarray(problem.x), np.asarray(problem.signal)
    trajectory = current.trajectory
    b = np.where(trajectory.published[..., None], trajectory.factors.b, 0)
    a = trajectory.factors.a @ np.asarray(problem.regression.whitener)[:, None]
    fitted = np.swapaxes(b, 2, 3) @ (a @ x[:, None])
    measured = np.linalg.norm(fitted - signal[:, None], axis=(2, 3))
    left, values, right = np.linalg.svd(signal, full_matrices=False)
    best_clean = (left * values[:, None])[..., :RANK] @ right[:, :RANK]
    noisy_left = np.asarray(problem.left) * current.values[:, None]
    rows = np.swapaxes(np.asarray(problem.right), 1, 2)
    inputs = np.asarray(problem.regression.whitener) @ x
    best_noisy = noisy_left[..., :RANK] @ (rows[:, :RANK] @ inputs)
    shift = np.linalg.norm(best_noisy - best_clean, axis=(1, 2))[:, None]
    truncation = np.asarray(tail_norm(values))[:, RANK][:, None]
    bound = generalization.decomposition(trajectory.shown, statistical * shift, truncation)
    return Evidence(measured, bound)


CLAIMS = (
    Claim(
        name="generalization.decomposition",
        source="arXiv 2605.10741, generalisation",
        statement="In every round of a parallel run the error against the hidden map is at most "
        "unfinished work plus noise plus truncation.",
        formula="||(W_l - W) X|| <= sum_k E_{k,l} + ||M_(r) - M*_(r)|| + (sum_{k>r} s_k^2)^{1/2}, "
        "E against the components of the noisy target",
        kind="upper",
        status="as printed",
        instances=_draw_noisy,
        measure=_decomposition,
        control=Control("without the statistical term", lambda p: _decomposition(p, 0.0)),
    ),
    Claim(
        name="generalization.noise_floor",
        source="arXiv 2605.10741, statistical term; generalization.noise_floor_second_order",
        statement="What the best rank-r fit loses to noise on average, r the true rank, for noise "
        "well below the smallest singular value.",
        formula="E ||(W_r - W) X||^2 = std^2 r (m + d - r) + 3 std^4 (m - r)(d - r) sum_k s_k^{-2}",
        kind="mean",
        status="with a condition",
        instances=_draw_reference(LEVELS),
        measure=_floor,
        control=Control(
            "the first term alone, at the largest noise",
            _floor_at_largest,
        ),
    ),
    Claim(
        name="generalization.component_noise_floor",
        source="proved in generalization.component_noise_floor",
        statement="What single components lose to small noise on average.",
        formula="E ||R_k - R*_k||^2 = std^2 (1 + |m - d| + sum_{i != k} 2 s_k^2 (s_k^2 + s_i^2) / "
        "(s_k^2 - s_i^2)^2)",
        kind="mean",
        status="new",
        instances=_draw_reference(SMALL),
        measure=_component_floor,
        control=Control(
            "a component without neighbours, std^2 (m + d - 1)",
            lambda sample: _component_floor(sample, alone=True),
        ),
    ),
    Claim(
        name="generalization.sample_size",
        source="proved in generalization.noise_floor",
        statement="The noise floor on the training inputs does not depend on their number.",
        formula="E ||(W_r - W) X||^2 = std^2 r (m + d - r) for n close to d and n far above it",
        kind="mean",
        status="new",
        instances=_draw_two_sizes,
        measure=_sample_size,
        control=Control(
            "parameters of a rank-r output Y (m, n): r (m + n - r)",
            lambda sizes: _sample_size(sizes, of_output=True),
        ),
    ),
    Claim(
        name="generalization.map_noise_floor",
        source="proved in generalization.map_noise_floor",
        statement="The error of the map itself for Gaussian inputs, small noise.",
        formula="E ||W_r - W||^2 = std^2 r (d/(n - d - 1) + (m - r)/(n - r - 1))",
        kind="mean",
        status="new",
        instances=_draw_map,
        measure=_map_floor,
        control=Control(
            "std^2 r (m + d - r)/(n - d - 1): the rows of W X independent of X",
            lambda sample: _map_floor(sample, isotropic=True),
        ),
    ),
)
