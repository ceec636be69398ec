"""Errors of parallel workers against rounds, beside what is proved about them."""

from __future__ import annotations

import jax
import numpy as np

from linear_theory.instances.setting import Setting, float64
from linear_theory.parallel.measured_run import aligned, and_predecessors, contraction_from, run
from linear_theory.parallel.problems import RANK, VALUES, draw
from linear_theory.parallel.self_correction import late_phase, warm_up
from linear_theory.parallel.self_correction import theory as self_correction
from linear_theory.parallel.self_correction.contraction import alternating_rate

TAU = 0.5  # how far the gates are open, in units of where the gap of the target may close


@float64
def parallel_errors(setting: Setting, *, ratio: float = 0.6, rounds: int = 64) -> dict:
    """Relative errors of published components, geometric spectrum, one power iteration per round.

    The problems are those of the claims, with `problems.RANK` workers. The envelope is
    `self_correction.envelope` with each run's own contractions, from the round on from which its
    conditions hold for good; the warm-up bound is `warm_up.settled_bound`, from the proved warm-up
    round on. Both are infinite before.

    Returns:
      rounds l = 0, ..., L (L + 1,); error G_{k,l}, envelope, settled, all (N, L + 1, r); late_rate
      (r,), the predicted late rates, and proved_rate (N, r), those of the warm-up bound.

    Source: arXiv 2605.10741; drawn there from a formula, here from data.
    """
    spectrum = ratio ** np.arange(VALUES)
    key = jax.random.key(setting.seed)
    problem = draw(key, setting.trials, lambda uniform: np.tile(spectrum, (len(uniform), 1)))
    recorded = run(problem, rounds=rounds)
    values = recorded.values
    radius = np.asarray(self_correction.gate_radius(values, TAU))[:, :RANK]
    constant = self_correction.transfer_constant(values, radius)
    gates = (recorded.mismatch <= radius[:, None]) & recorded.trajectory.published[:, 1:]
    rates = contraction_from(recorded, aligned(recorded))
    proved = warm_up.proved_rates(rates.rate)
    couplings = self_correction.coupling(values, rates.rate, constant)
    waiting = jax.jit(warm_up.warm_up_rounds, static_argnums=4)(
        values, proved, rates.first + 1.0, couplings, TAU / 2**0.5
    )
    index = np.arange(rounds + 1)
    return {
        "rounds": index,
        "ratio": ratio,
        "error": recorded.trajectory.shown / values[:, None, :RANK],
        "envelope": _envelopes(recorded, gates & aligned(recorded), constant),
        "settled": warm_up.settled_bound(proved, waiting, index),
        "warm_up": waiting,
        "late_rate": late_phase.late_rate(alternating_rate(spectrum)[:RANK]),
        "proved_rate": proved,
    }


def _envelopes(recorded, condition, constant) -> np.ndarray:
    """Theorem A for each worker from the round on from which it holds for all up to that worker."""
    rounds = condition.shape[1]
    rates = contraction_from(recorded, and_predecessors(condition))
    couplings = self_correction.coupling(recorded.values, rates.rate, constant)
    starts = np.take_along_axis(recorded.relative, rates.first[:, :, None], axis=1)
    paths = self_correction.envelope(couplings[:, None], rates.rate[:, None], starts, rounds)
    paths = np.moveaxis(np.diagonal(paths, axis1=2, axis2=3), 0, 1)  # (trials, t, worker)
    since = np.arange(rounds + 1)[:, None] - rates.first[:, None]
    return np.where(since >= 0, np.take_along_axis(paths, np.maximum(since, 0), axis=1), np.inf)
