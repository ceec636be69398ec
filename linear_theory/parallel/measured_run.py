"""What the claims on parallel deflation read from a recorded run, as numpy arrays.

Legend: as in `self_correction` and `trajectory`; l counts rounds and k workers, both from 1. Axes
are (trials, round, worker); a round axis of length L + 1 begins with the start, one of length L
with round 1.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np

import deflation
from linear_theory.parallel.problems import RANK, VALUES, Problem
from linear_theory.parallel.self_correction import theory as self_correction
from linear_theory.parallel.trajectory import Reach, Trajectory, reach, record

# Below this error (s_1 = 1) a rate is one of rounding.
FLOOR = 1e-11
# What rounding adds to an error in a round; a successor above the floor does not notice.
ROUNDING = 1e-14
# A rate is read off when all but one mode make up at most this part of the squared error.
REST = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A recorded run and what follows from it at once, as numpy arrays.

    problem, staleness: of the run. trajectory: the `Trajectory`.
    relative: G_{k,l} (trials, L + 1, r). mismatch: delta_{k,l} (trials, L, r).
    """

    problem: Problem
    staleness: int
    trajectory: Trajectory
    relative: np.ndarray
    mismatch: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """s (trials, K)."""
        return np.asarray(self.problem.values)

    @functools.cached_property
    def reach(self) -> Reach:
        """What the rounds reached, computed when it is asked for: most of the time of a run."""
        measured = reach(self.problem, self.trajectory, self.staleness)
        return jax.tree.map(np.asarray, measured)

    @property
    def contraction(self) -> np.ndarray:
        """F_{k,l} of the single rounds (trials, L, r), 0 where nothing was left to contract."""
        before, after = self.reach.before, self.reach.after
        return np.divide(after, before, out=np.zeros_like(after), where=before > 0)


def run(problem: Problem, solver=None, **how) -> Run:
    """Records a run of `solver` (alternating steps when None); `how` as in `trajectory.record`.

    Example:
      >>> from linear_theory.parallel.problems import draw
      >>> run(draw(jax.random.key(0), 3), rounds=5).relative.shape
      (3, 6, 4)
    """
    solver = deflation.alternating() if solver is None else solver
    trajectory = jax.tree.map(np.asarray, record(problem, solver, **how))
    staleness = how.get("staleness", 0)
    rounds = np.arange(trajectory.shown.shape[1] - 1)
    visible = np.maximum(rounds - staleness, 0)  # before the start it is as at the start
    mismatch = np.asarray(self_correction.mismatch_bound(trajectory.shown[:, visible]))
    relative = trajectory.error / np.asarray(problem.values)[:, None, :RANK]
    return Run(problem, staleness, trajectory, relative, mismatch)


def follows(run: Run) -> np.ndarray:
    """Where a statement on a worker and its predecessors can be tested (trials, L, r): k >= 2, the
    worker has published, and its error is above the float floor."""
    later = np.arange(RANK) > 0
    visible = run.trajectory.published[:, 1:] & (run.trajectory.error[:, 1:] > FLOOR)
    return visible & later


def aligned(run: Run) -> np.ndarray:
    """Within 45 degrees of the own target's top direction before the round (trials, L, r).

    From here on the burn-in of a worker is over. It is a statement about the solver alone, which
    knows nothing of the other workers' gaps or of the ideal target.
    """
    return run.reach.cosine >= 0.5**0.5


def for_good(condition: np.ndarray) -> np.ndarray:
    """Where the condition holds in this round and in all later ones; (trials, L, ...).

    Example:
      >>> for_good(np.array([[True, False, True]])).tolist()
      [[False, False, True]]
    """
    return np.flip(np.logical_and.accumulate(np.flip(condition, 1), axis=1), 1)


def first_for_good(condition: np.ndarray) -> np.ndarray:
    """First index of the round axis from which the condition holds for good; L for never.

    Example:
      >>> first_for_good(np.array([[True, False, True], [True, True, False]])).tolist()
      [2, 3]
    """
    holds = for_good(condition)
    return np.where(holds.any(axis=1), holds.argmax(axis=1), condition.shape[1])


def and_predecessors(condition: np.ndarray) -> np.ndarray:
    """Where worker k and all workers before it (last axis) meet the condition.

    Example:
      >>> and_predecessors(np.array([True, False, True])).tolist()
      [True, False, False]
    """
    return np.logical_and.accumulate(condition, axis=-1)


class Contraction(NamedTuple):
    """Contraction of every worker after a burn-in.

    first: index of the round axis of the burn-in's end, e_k - 1 (trials, r); L for never.
    rate: F_k, the largest F_{k,l} with l >= e_k above the float floor (trials, r).
    holds: the contraction is at most F_k in all rounds from e_k to this one (trials, L, r).
    """

    first: np.ndarray
    rate: np.ndarray
    holds: np.ndarray


def contraction_from(run: Run, condition: np.ndarray) -> Contraction:
    """The contraction from the round on from which `condition` (trials, L, r) holds for good."""
    after_burn_in = for_good(condition)
    before, after = run.reach.before, run.reach.after
    rate = np.where(after_burn_in & (before > FLOOR), run.contraction, 0).max(axis=1)
    # Below the floor the largest factor need not be one of those counted.
    contracted = after <= rate[:, None] * before + ROUNDING
    holds = after_burn_in & np.logical_and.accumulate(contracted | ~after_burn_in, axis=1)
    return Contraction(first_for_good(condition), rate, holds)


def last_factor(run: Run, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E_{k,l}/E_{k,l-1} in the last round above the float floor, and whether it is a rate by then.

    It is where the mode with the largest of `rates` (trials, r, K) makes up all but REST of the
    squared error sum_i eps_i^2 (s_k^2 + s_i^2) before that round. Returns two (trials, r).
    """
    errors, modes = run.trajectory.error, run.trajectory.modes
    last = np.maximum((errors > FLOOR).sum(axis=1) - 1, 1)[:, None]
    top, bottom = (np.take_along_axis(errors, index, 1)[:, 0] for index in (last, last - 1))
    factor = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    squares = run.values**2
    weight = np.where(own_pair(), 0, squares[:, :RANK, None] + squares[:, None])
    shares = weight * np.take_along_axis(modes, last[..., None] - 1, 1)[:, 0] ** 2
    total = shares.sum(axis=2)
    slowest = np.take_along_axis(shares, rates.argmax(axis=2)[..., None], 2)[..., 0]
    return factor, (slowest > (1 - REST) * total) & (bottom > FLOOR)


def own_pair() -> np.ndarray:
    """Where mode i is the worker's own component, (r, K)."""
    return np.eye(RANK, VALUES, dtype=bool)
