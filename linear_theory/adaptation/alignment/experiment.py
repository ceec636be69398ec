"""Low-rank adaptation of a linear teacher over time: risk, and alignment with the first gradient.

Legend: as in `linear_teacher`; in a Setting m is k, the outputs, n is N and rank is r*; every trial
has a teacher of its own with Gaussian inputs. Risk is ||A B - Delta||_F^2/2.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.adaptation.alignment import theory as alignment
from linear_theory.adaptation.linear_teacher import Teacher, draw_teachers, factor_gradients
from linear_theory.instances.batching import per_instance
from linear_theory.instances.setting import Setting, float64

SIZES = tuple(10 ** (-k / 2) for k in range(5))  # alpha, so that alpha^2 is 1, ..., 1e-4


@float64
def alignment_over_time(
    setting: Setting,
    *,
    inner: int = 8,
    sizes=SIZES,
    ratios=(0.25, 1.0, 4.0, 16.0),
    small=tuple(10.0**-k for k in range(1, 9)),
    step: float = 1 / 64,
    steps: int = 1500,
    every: int = 5,
) -> dict:
    """Risk and angle with the first gradient under gradient descent from A_0 ~ N(0, alpha^2).

    All singular values of Delta are 1. Three sweeps: over `sizes` alpha with equal steps; over
    `ratios` eta_2/eta_1 with eta_1 = `step` and the smallest of the sizes; over `small` alpha for
    the least angle alone, three times as long.

    Returns:
      steps (T,), sizes (S,), risk and angle (S, N, T); ratios (Q,), ratio_angle (Q, N, T); small
      (F,), best (F, N), the least angle over time; floor (N,), the angle of G with Delta; exponent
      (N,), predicted by `alignment.best_angle_exponent`; mean_step, sqrt(eta_1 eta_2) of ratios.

    Source: arXiv 2502.01235, Figure 1 and the public notebook (inner 8, 1500 steps of 1/64).
    """
    teacher = teachers_of(setting, inner)
    left, values, _ = np.linalg.svd(teacher.gram @ teacher.delta)
    left, values = left[:, :, : setting.rank], values[:, : setting.rank]

    def sweep(size, ratio, length=steps):
        given = teacher.gram, teacher.delta, left, size * teacher.start
        trials = np.ones(setting.trials)
        return _descent(length // every, every)(*given, step * trials, ratio * step * trials)

    risk, angle = zip(*[sweep(size, 1.0) for size in sizes], strict=True)
    kappa = alignment.growth_ratio(jnp.asarray(values), step)
    return {
        "steps": every * np.arange(steps // every + 1),
        "sizes": sizes,
        "risk": np.stack(risk),
        "angle": np.stack(angle),
        "ratios": ratios,
        "mean_step": step * np.sqrt(ratios),
        "ratio_angle": np.stack([sweep(min(sizes), ratio)[1] for ratio in ratios]),
        "small": small,
        "best": np.stack([sweep(size, 1.0, 3 * steps)[1].min(axis=-1) for size in small]),
        "floor": alignment.angle(left, teacher.left),
        "exponent": alignment.best_angle_exponent(kappa),
    }


@functools.cache
def _descent(records: int, every: int):
    """(risk, angle), each (N, records + 1), of runs with B_0 = 0."""

    def run(gram, delta, left, a, rate_a, rate_b):
        rank = left.shape[1]

        def step(_, factors):
            a, b = factors
            slope_a, slope_b = factor_gradients(gram, delta, a, b)
            return a - rate_a * slope_a, b - rate_b * slope_b

        def record(factors, _):
            a, b = factors
            basis = jnp.linalg.svd(a, full_matrices=False)[0][:, :rank]
            risk = jnp.sum((a @ b - delta) ** 2) / 2
            return jax.lax.fori_loop(0, every, step, factors), (risk, alignment.angle(left, basis))

        start = a, jnp.zeros((a.shape[1], delta.shape[1]))
        return jax.lax.scan(record, start, None, length=records + 1)[1]

    return per_instance(run)


def teachers_of(setting: Setting, inner: int, values=None, samples: int | None = None) -> Teacher:
    """One teacher for every trial; all singular values 1, or those given."""
    teacher = draw_teachers(
        jax.random.key(setting.seed),
        setting.trials,
        d=setting.d,
        k=setting.m,
        samples=samples or setting.n,
        rank=setting.rank,
        inner=inner,
        kappa=(1.0, 1.0),
    )
    if values is None:
        return teacher
    values = np.broadcast_to(values, (setting.trials, setting.rank))
    return teacher._replace(
        delta=(teacher.left * values[:, None]) @ teacher.right.mT, values=values
    )
