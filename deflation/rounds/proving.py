"""Stopping when the answer is proved: rounds in portions, and the bounds after each."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from deflation.rounds.run import advance, finish
from deflation.rounds.state import Solution, State, Status
from deflation.rounds.stopping import rounding
from rankwise import checks

FIRST = 8  # rounds before the bounds are first looked at


def until_proved(state: State, tolerance: float, rounds: int) -> tuple[State, Solution]:
    """Runs until the bounds prove ||R_k - R*_k|| <= tolerance ||R_k|| for all k.

    A tolerance of `start` stops by moves, or by an error that is estimated from them: it may stop
    too soon, where a slow rate hides behind a faster one, and says so afterwards. Here nothing but
    a proof stops the run, or the end of its rounds, or that nothing moves any more but by rounding.
    The bounds are looked at after 8, 16, 24, 36, 54, ... rounds, each time for half as many more:
    so at most half of the rounds are run in vain, and a long run is judged a few times.

    Args:
      state: from `start` without a tolerance, or from `advance`.
      tolerance: relative to the size of every component, > 0.
      rounds: at most this many more.

    Returns:
      The state, from which the run can go on, and its Solution; CONVERGED is the proof, under the
      assumption that `Solution.proved` tells of.

    Raises:
      ValueError: a state that stops by itself at a tolerance, or is traced; tolerance <= 0; rounds
        < 1.

    Source: the claim `certificates.stopped`; the bounds are proved in bounds.py.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, start
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0, 0.5])))
      >>> state, solution = until_proved(start(problem, rank=2), 1e-3, rounds=500)
      >>> solution.status.name, int(solution.rounds)
      ('CONVERGED', 8)
    """
    checks.instance("state", state, State, "a State, as start returns it")
    checks.positive("tolerance", tolerance)
    rounds = checks.integer("rounds", rounds, 1)
    if checks.traced((state.progress, state.controls)):
        raise ValueError("state is traced; allowed is to run until a proof outside of jax.jit")
    stop = state.controls.stop
    if float(stop.tolerance) >= 0:
        raise ValueError(
            f"state stops by itself at tolerance {float(stop.tolerance):g}; "
            "allowed is one that was started without a tolerance"
        )
    proof = dataclasses.replace(stop, tolerance=jnp.asarray(tolerance, state.problem.dtype))
    judged = state.controls._replace(stop=proof)
    first = int(state.progress.round)
    portion, last = FIRST, first + rounds
    while True:
        before = int(state.progress.round)
        state = advance(state, min(portion, last - before))
        now = int(state.progress.round)
        solution = finish(dataclasses.replace(state, controls=judged))
        ended = solution.status in (Status.CONVERGED, Status.NOT_FINITE) or now >= last
        if ended or now == before or _rests(state):
            return state, solution
        portion = max(FIRST, (now - first) // 2)


def _rests(state: State) -> bool:
    """Whether all components are published and the last round moved none but by rounding."""
    progress = state.progress
    moved, sizes = np.asarray(progress.moved), np.asarray(progress.sizes)
    return int(progress.active) == len(sizes) and bool(np.all(moved <= rounding(sizes, np)))
