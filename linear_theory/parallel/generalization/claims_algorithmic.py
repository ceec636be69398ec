"""Claims: what unfinished work leaves of a predictor, one component after the other and at once.

Legend: as in `generalization` and `measured_run`; M_(r) the best fit of the noisy target.
"""

from __future__ import annotations

import jax
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import falling, generator, norm
from linear_theory.parallel.measured_run import run
from linear_theory.parallel.problems import RANK, VALUES, Problem, draw
from linear_theory.parallel.trajectory import ROUNDS

WIDEST = 0.8  # ratio of neighbouring values
ROUNDING = 1e-13  # of a sum of components of size one


def _draw(key, trials):
    """Ratios from .3 to .75, and noise from .003 to .03, which moves them by little."""
    key_noise, key = jax.random.split(key)
    noise = 0.003 * 10 ** generator(key_noise).random(trials)
    return draw(key, trials, lambda u: falling(0.3 + 0.45 * u[:, 2 : 1 + VALUES]), noise=noise)


def _unfinished(problem: Problem, method: str) -> np.ndarray:
    """||sum_k R_{k,l} - M_(r)|| of what is published, (trials, L + 1)."""
    trajectory = run(problem, method=method).trajectory
    b = np.where(trajectory.published[..., None], trajectory.factors.b, 0)
    left, values, right = map(np.asarray, (problem.left, problem.values, problem.right))
    best = (left * values[:, None])[..., :RANK] @ right[..., :RANK].mT
    return norm(b.mT @ trajectory.factors.a - best[:, None])


def _algorithmic(problem: Problem, rounds: int = ROUNDS) -> Evidence:
    """Parallel after `rounds` rounds against sequential at the end, with a quarter of all each."""
    parallel, sequential = (_unfinished(problem, way) for way in ("parallel", "sequential"))
    values = np.asarray(problem.values)
    apart = np.all(values[:, 1 : RANK + 1] < WIDEST * values[:, :RANK], axis=1)
    return Evidence(parallel[:, rounds], sequential[:, -1] + ROUNDING, apart)


CLAIMS = (
    Claim(
        name="generalization.algorithmic_term",
        source="arXiv 2605.10741, generalisation: the algorithmic term",
        statement="With noise, alternating steps and s_{k+1} < .8 s_k: after as many rounds as a "
        "sequential run takes for all components, a parallel predictor is nearer to the best fit. "
        "After as much work, a quarter of the rounds, it need not be, nor where values nearly tie.",
        formula="||sum_k R_{k,L} - M_(r)|| <= the same of L/r rounds for each in turn",
        kind="upper",
        status="with a condition",
        instances=_draw,
        measure=_algorithmic,
        control=Control("after L/r rounds", lambda problem: _algorithmic(problem, ROUNDS // RANK)),
    ),
)
