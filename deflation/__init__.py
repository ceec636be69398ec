"""Pure JAX solvers for learning a matrix one rank at a time.

    problem = Regression.from_data(x, y)                    # or from_matrix, from_batches, ...
    solution = parallel(problem, rank=8, rounds=60)         # or sequential, sharded, exact;
    solution = decompose(problem, rank=8, tolerance=1e-3)   # or what is fastest for the size
    solution.components.predict(x_new)

All solve min_W ||Y - W X||_F with W of given rank, as a sum of rank-one components b_k a_k^T that
are fitted by deflation, so that every prefix is a valid smaller model. Pure JAX, numpy and scipy.
"""

from deflation.budgets import Budget
from deflation.direct.decomposition import decompose
from deflation.growth import explained_energy, noise_floor
from deflation.problem.components import Components
from deflation.problem.regression import Regression
from deflation.reference import exact, joint
from deflation.rounds.decomposition import Decomposition
from deflation.rounds.proving import until_proved
from deflation.rounds.run import advance, finish, step
from deflation.rounds.start import start
from deflation.rounds.state import History, Solution, State, Status
from deflation.saving import load, save
from deflation.solvers.alternating import alternating
from deflation.solvers.gradient_descent import gradient_descent
from deflation.solvers.krylov import krylov
from deflation.solvers.sketching import Sketch
from deflation.ways import parallel, sequential, sharded
from rankwise import __version__

__all__ = [
    "Budget",
    "Components",
    "Decomposition",
    "History",
    "Regression",
    "Sketch",
    "Solution",
    "State",
    "Status",
    "__version__",
    "advance",
    "alternating",
    "budgets",
    "decompose",
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
    "until_proved",
]
