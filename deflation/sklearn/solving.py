"""Leading components of a problem by the solver of that name, in float64 on the host."""

from __future__ import annotations

import warnings

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from deflation import Status, alternating, exact, krylov, parallel
from deflation.problem.regression import Regression
from rankwise import checks

SOLVERS = ("exact", "krylov", "alternating")
ROUNDS = 200
TOLERANCE = 1e-10


def components(make, rank: int, solver: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """b (r, m), a (r, d) of the problem that `make` returns, made in float64 as it is solved.

    Warns:
      ConvergenceWarning: an iterative solver ended without its tolerance.
    """
    with jax.enable_x64(True):
        problem: Regression = make()
        if solver == "exact":
            solution = exact(problem, rank)
        else:
            solution = parallel(
                problem,
                rank,
                {"krylov": krylov, "alternating": alternating}[solver](),
                rounds=ROUNDS,
                init="sketch",
                key=jax.random.key(seed),
                tolerance=TOLERANCE,
            )
            if solution.status in (Status.BUDGET_SPENT, Status.NOT_FINITE):
                warnings.warn(
                    f"solver {solver!r} ended after {ROUNDS} rounds: {solution.message}; "
                    "solver='exact' needs none",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        return tuple(np.asarray(rows, np.float64) for rows in solution.components)


def check_solver(solver: str) -> None:
    """Raises ValueError for a solver that is not known."""
    checks.choice("solver", solver, SOLVERS)
