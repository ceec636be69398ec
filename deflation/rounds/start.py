"""Beginning a run: validation, first factors, and the plan."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from deflation import budgets
from deflation.growth import Rule, check_rule
from deflation.problem.components import Components
from deflation.problem.regression import Regression
from deflation.problem.units import scaled, unit_of
from deflation.rounds.mesh import on_mesh, row_mesh, worker_mesh
from deflation.rounds.state import MEASURES, Controls, History, Plan, State, initial_progress
from deflation.solvers.alternating import alternating
from deflation.solvers.sketching import Sketch, sketch
from deflation.solvers.solver import Solver
from rankwise import checks

METHODS = ("sequential", "parallel", "sharded", "joint")
NEVER = -1.0
EACH = 50  # rounds of a component of a sequential run that names no budget
SOLVERS = "a solver, alternating(), krylov() or gradient_descent()"


_ROUNDS = ("parallel", "sharded")
_ORDERED = ("sequential", *_ROUNDS)
OPTIONS = {
    "grow": (None, _ORDERED),
    "budget": (None, ("sequential",)),
    "mesh": (None, ("sharded",)),
    "row_axis": (None, ("sharded",)),
    "staggered": (True, _ROUNDS),
    "advance": (True, _ROUNDS),
    "orthogonal": (False, _ORDERED),
    "reoptimise": (0, ("sequential",)),
    "full_rank": (0, ("sequential",)),
    "staleness": (0, _ROUNDS),
}
"""Default and readers of the options that not all methods have."""


def start(
    problem: Regression,
    rank: int,
    solver: Solver | None = None,
    *,
    method: str = "parallel",
    init: str | Sketch | Components = "random",
    key: jax.Array | None = None,
    tolerance: float | None = None,
    tolerance_of: str = "move",
    grow: Rule | None = None,
    budget=None,
    staggered: bool = True,
    advance: bool = True,
    orthogonal: bool = False,
    reoptimise: int = 0,
    full_rank: int = 0,
    staleness: int = 0,
    mesh: jax.sharding.Mesh | None = None,
    axis_name: str = "worker",
    row_axis: str | None = None,
) -> State:
    """Begins a long run: `start` -> `advance` as often as wanted -> `finish`.

    `sequential`, `parallel`, `sharded` and `joint` are this function, one `advance` and `finish`;
    their docstrings say what the options mean.

    Args:
      method: one of `METHODS`; the other arguments as in the function of that name.

    Returns:
      A State; a pytree.

    Raises:
      ValueError: as the function of that name.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, advance, finish, start
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> state = start(problem, rank=1, key=jax.random.key(0))
      >>> for _ in range(3):
      ...     state = advance(state, 10)
      >>> round(float(problem.residual(finish(state).components)), 4)
      2.2361
    """
    checks.instance("problem", problem, Regression, "a Regression")
    checks.choice("method", method, METHODS)
    limit = min(problem.shape)
    rank = checks.integer("rank", rank, 1, limit, why=f" = min(m, d) of shape {problem.shape}")
    solver = alternating() if solver is None else solver
    _check_solver(solver, method, rank)
    if orthogonal is True and solver.collective and method in _ROUNDS:
        raise ValueError(f"orthogonal is True; allowed with {solver} is False")
    given = {"grow": grow, "budget": budget, "mesh": mesh, "staggered": staggered}
    given |= {"advance": advance, "orthogonal": orthogonal, "row_axis": row_axis}
    given |= {"reoptimise": reoptimise, "full_rank": full_rank, "staleness": staleness}
    _check_own(method, **given)
    if tolerance is not None:
        checks.positive("tolerance", tolerance, zero=True)
    checks.choice("tolerance_of", tolerance_of, MEASURES)
    check_rule(grow, problem)
    if method == "sharded":
        mesh = worker_mesh(mesh, axis_name)
        if row_axis is not None:
            mesh = row_mesh(problem, mesh, axis_name, row_axis)
    steps = budgets.as_budget(EACH * rank if budget is None else budget, rank)
    plan = Plan(
        way="parallel" if method == "sharded" else method,
        rank=rank,
        staggered=checks.flag("staggered", staggered),
        advance=checks.flag("advance", advance),
        passes_on=steps.passes_on,
        orthogonal=checks.flag("orthogonal", orthogonal),
        reoptimise=checks.integer("reoptimise", reoptimise, 0),
        full_rank=checks.integer("full_rank", full_rank, 0),
        tolerance_of=tolerance_of,
        staleness=checks.integer("staleness", staleness, 0),
        mesh=mesh if method == "sharded" else None,
        axis=axis_name,
        row_axis=row_axis,
    )
    if plan.staleness and solver.collective:
        # Its triangular step is what makes predecessors current.
        raise ValueError(f"staleness is {plan.staleness}; allowed with {solver} is 0")
    how, given = _checked_init(problem, rank, init)
    key = None if key is None else checks.random_key("key", key)
    controls, progress = _begin(
        problem,
        solver,
        given,
        key,
        NEVER if tolerance is None else tolerance,
        np.asarray(steps.steps, np.int32),
        grow,
        plan,
        how,
    )
    controls = controls._replace(rule=grow)  # as it was given: a program returns arrays
    empty = np.zeros((0, rank), problem.dtype)
    state = State(problem, solver, controls, progress, History(empty, empty), plan)
    return state if plan.mesh is None else on_mesh(state)


@functools.partial(jax.jit, static_argnames=("plan", "how"))
def _begin(problem, solver, given, key, tolerance, steps, grow, plan: Plan, how):
    """Controls and Progress before the first round; one program, as a small problem has few
    products to hide the cost of single operations behind."""
    problem = jax.lax.stop_gradient(problem)  # see run.py
    key = jax.random.key(0) if key is None else key
    unit = unit_of(problem.target)
    own = scaled(problem, unit)
    if how == "random":
        factors = solver.multiplied(solver.init(own, plan.rank, key), unit)
    elif how == "given":
        factors = solver.warm(problem.to_whitened(given))
    else:
        factors = solver.multiplied(solver.warm(sketch(own.target, plan.rank, key, how)), unit)
    controls = Controls(
        tolerance=jnp.asarray(tolerance, problem.dtype),
        steps=jnp.asarray(steps, jnp.int32),
        rule=None,
        threshold=None if grow is None else grow.threshold(problem),
        unit=unit,
    )
    # Warm factors are published at once; a joint run knows no order to wait for.
    warm = how != "random" and plan.way == "parallel"
    published = plan.rank if warm or plan.way == "joint" else 0
    return controls, initial_progress(factors, key, published, plan.staleness)


def _check_solver(solver: Solver, method: str, rank: int) -> None:
    checks.instance("solver", solver, Solver, SOLVERS)
    size = getattr(solver, "step_size", None)
    if method == "joint" and size is None:
        raise ValueError(f"solver is {solver}; allowed for joint is gradient_descent(step_size)")
    # One step size per worker needs all workers in one block.
    shapes = ((), (rank, 1)) if method == "parallel" else ((),)
    if size is not None and jnp.shape(size) not in shapes:
        raise ValueError(f"step_size has shape {jnp.shape(size)}; allowed is one number")


def _check_own(method: str, **given) -> None:
    """Refuses options that the method would not read."""
    for name, value in given.items():
        default, readers = OPTIONS[name]
        if method not in readers and value is not default:
            raise ValueError(
                f"{name} is {checks.shown(value)}; allowed with method {method!r} is {default!r}"
            )


def _checked_init(problem, rank, init) -> tuple[str | Sketch, Components | None]:
    """How the run begins ("random", a Sketch or "given"), and the factors that were given."""
    if isinstance(init, Sketch):
        init.shape(rank, min(problem.shape))
        return init, None
    if isinstance(init, str):
        checks.choice("init", init, ("random", "sketch"))
        return (Sketch() if init == "sketch" else init), None
    checks.instance("init", init, Components, "'random', 'sketch', a Sketch or Components")
    names = init._asdict().items()
    given = Components(*(checks.matrix(f"init.{n}", rows, problem.dtype) for n, rows in names))
    problem.check_components(given, "init", rank)
    return "given", given
