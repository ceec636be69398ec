"""Pure JAX solvers for learning a matrix one rank at a time.

    problem = Regression.from_data(x, y)                    # or from_matrix, from_batches, ...
    solution = parallel(problem, rank=8, rounds=60)         # or sequential, sharded, exact
    solution.components.predict(x_new)

All solve min_W ||Y - W X||_F with W of given rank, as a sum of rank-one components b_k a_k^T that
are fitted by deflation, so that every prefix is a valid smaller model. Pure JAX, numpy and scipy.
"""

from deflation import budgets
from deflation.budgets import Budget
from deflation.components import Components
from deflation.growth import explained_energy, noise_floor
from deflation.krylov import krylov
from deflation.regression import Regression
from deflation.run import advance, finish, step
from deflation.saving import load, save
from deflation.sketching import Sketch
from deflation.solvers import alternating, gradient_descent
from deflation.starting import start
from deflation.state import History, Solution, State
from deflation.status import Status
from deflation.ways import exact, joint, parallel, sequential, sharded

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Components",
    "History",
    "Regression",
    "Sketch",
    "Solution",
    "State",
    "Status",
    "advance",
    "alternating",
    "budgets",
    "exact",
    "explained_energy",
    "finish",
    "gradient_descent",
    "joint",
    "krylov",
    "load",
    "noise_floor",
    "parallel",
    "save",
    "sequential",
    "sharded",
    "start",
    "step",
]
