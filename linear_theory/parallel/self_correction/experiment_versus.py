"""One after the other against all at once, and what private refinement is worth."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from deflation import alternating, budgets
from linear_theory.instances.setting import Setting, float64
from linear_theory.parallel.workers import follow, problem_of


@float64
def versus_sequential(
    setting: Setting, *, spectra=("geometric", "harmonic"), workers: int = 5, each: int = 8
) -> dict:
    """Sequential against parallel deflation at equal rounds and at equal work; power iteration.

    Sequential: `each` rounds for every component, then it is frozen. Parallel: staggered, without
    advance learning, for as many rounds as sequential takes; after `each` + r - 1 of them every
    worker has had at least `each`.

    Returns:
      spectra (P,), each, and per way w in (sequential, parallel), with L = r `each` rounds:
      w_error (P, N, L, r), w_sum_error (P, N, L), w_work (L,), see `workers.Workers`.

    Source: arXiv 2605.10741.
    """
    rounds = workers * each
    ways = {
        "sequential": {"budget": budgets.equal(workers, rounds)},
        "parallel": {"advance": False},
    }
    result = {"spectra": spectra, "each": each}
    for way, options in ways.items():
        runs = [
            follow(
                problem_of(setting, spectrum),
                workers,
                alternating(),
                setting.trial_keys(),
                rounds=rounds,
                method=way,
                **options,
            )
            for spectrum in spectra
        ]
        result |= {
            f"{way}_error": jnp.stack([run.error for run in runs]),
            f"{way}_sum_error": jnp.stack([run.sum_error for run in runs]),
            f"{way}_work": runs[0].work[0],
        }
    return result


@float64
def advance_learning(
    setting: Setting,
    *,
    spectra=("geometric", "harmonic", "power", "random"),
    sweeps=(1, 3),
    workers: int = 5,
    rounds: int = 120,
    target: float = 1e-4,
) -> dict:
    """The same runs with and without private refinement before a worker's first broadcast.

    Returns:
      spectra (P,), sweeps (K,), target; `with` and `without`: G_k of the first spectrum and sweep,
      (N, L, r); ratio: G_k with over G_k without, at the round in which the run without first
      falls below `target`, for k = 2, ..., r, (P, K, N, r - 1), NaN if it never does; saved:
      rounds by which the run with it is there earlier, same shape.

    Source: arXiv 2605.10741, advance learning.
    """
    keys = setting.trial_keys()
    ratios, saved, shown = [], [], None
    for spectrum in spectra:
        problem = problem_of(setting, spectrum)
        for count in sweeps:
            without, with_ = (
                follow(
                    problem, workers, alternating(count), keys, rounds=rounds, advance=advance
                ).error
                for advance in (False, True)
            )
            shown = (without, with_) if shown is None else shown
            ratio, rounds_saved = _compared(np.asarray(without), np.asarray(with_), target)
            ratios.append(ratio)
            saved.append(rounds_saved)
    shape = (len(spectra), len(sweeps), *ratios[0].shape)
    return {
        "spectra": spectra,
        "sweeps": sweeps,
        "target": target,
        "without": shown[0],
        "with": shown[1],
        "ratio": np.stack(ratios).reshape(shape),
        "saved": np.stack(saved).reshape(shape),
    }


def _compared(without: np.ndarray, with_: np.ndarray, target: float):
    """Ratio of the errors and difference of the rounds at `target`, (N, r - 1) each."""
    first = [_first_round(errors[..., 1:], target) for errors in (without, with_)]
    at = np.where(np.isnan(first[0]), 0, first[0]).astype(int)[:, None]
    ratio = [np.take_along_axis(errors[..., 1:], at, axis=1)[:, 0] for errors in (without, with_)]
    return np.where(np.isnan(first[0]), np.nan, ratio[1] / ratio[0]), first[0] - first[1]


def _first_round(errors: np.ndarray, target: float) -> np.ndarray:
    below = errors < target
    return np.where(below.any(axis=1), below.argmax(axis=1).astype(float), np.nan)
