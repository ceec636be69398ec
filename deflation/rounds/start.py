"""Beginning a run: validation, first factors, and the plan."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deflation import budgets
from deflation.budgets import Budget
from deflation.problem.components import Components
from deflation.problem.regression import Regression
from deflation.problem.units import scaled, unit_of
from deflation.rounds.mesh import on_devices, on_mesh
from deflation.rounds.options import METHODS, records
from deflation.rounds.state import Controls, History, Plan, State, initial_progress
from deflation.solvers.alternating import alternating
from deflation.solvers.sketching import Sketch, sketch
from deflation.solvers.solver import Solver
from rankwise import checks
from rankwise.compiling import jit_quickly

NEVER = -1.0
EACH = 50  # rounds of a component of a sequential run that names no budget
SOLVERS = "a solver, alternating(), krylov() or gradient_descent()"


def start(
    problem: Regression,
    rank: int,
    solver: Solver | None = None,
    *,
    method: str = "parallel",
    init: str | Sketch | Components = "random",
    key: jax.Array | None = None,
    budget: Budget | Sequence[int] | int | None = None,
    **options,
) -> State:
    """Begins a long run: `start` -> `advance` as often as wanted -> `finish`.

    `sequential`, `parallel`, `sharded` and `joint` are this function, one `advance` and `finish`;
    their docstrings say what the options mean.

    Args:
      problem, rank, solver, init, key: as in `sequential`.
      method: "sequential", "parallel", "sharded" or "joint".
      budget: of a sequential run, as there.
      **options: the other keyword arguments of the function of that name, see options.py.

    Returns:
      A State; a pytree.

    Raises:
      ValueError: as the function of that name.
      TypeError: an option that there is not.

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
    checks.instance("solver", solver, Solver, SOLVERS)
    if budget is not None and method != "sequential":
        raise ValueError(
            f"budget is {checks.shown(budget)}; allowed with method {method!r} is None"
        )
    stop, publish, extensions, devices = records(method, options)
    stop.check(problem)
    steps = budgets.as_budget(EACH * rank if budget is None else budget, rank)
    plan = Plan(
        way="parallel" if method == "sharded" else method,
        rank=rank,
        passes_on=steps.passes_on,
        online=steps.online,
        publish=publish,
        extensions=extensions,
        devices=on_devices(problem, devices) if method == "sharded" else devices,
    )
    solver.check(plan)
    how, given = _checked_init(problem, rank, init)
    key = None if key is None else checks.random_key("key", key)
    tolerance = NEVER if stop.tolerance is None else stop.tolerance
    allowance = np.asarray(steps.steps, np.int32)
    # Warm factors are published at once; a joint run knows no order to wait for.
    warm = how != "random" and plan.way == "parallel"
    active = np.int32(rank if warm or plan.way == "joint" else 0)
    inputs = (problem, solver, given, key, tolerance, allowance, stop, active)
    controls, progress = _begin(*inputs, rank, publish.staleness, how)
    # The rule as it was given, as a program returns arrays.
    stop = dataclasses.replace(controls.stop, grow=stop.grow)
    controls = controls._replace(stop=stop)
    empty = np.zeros((0, rank), problem.dtype)
    state = State(problem, solver, controls, progress, History(empty, empty), plan)
    return state if plan.devices.mesh is None else on_mesh(state)


@functools.partial(jit_quickly, static_argnames=("rank", "staleness", "how"))
def _begin(problem, solver, given, key, tolerance, steps, stop, active, rank, staleness, how):
    """Controls and Progress before the first round; one program, as a small problem has few
    products to hide the cost of single operations behind, that does not know the plan."""
    problem = jax.lax.stop_gradient(problem)  # see run.py
    key = jax.random.key(0) if key is None else key
    unit = unit_of(problem.target)
    own = scaled(problem, unit)
    if how == "random":
        factors = solver.multiplied(solver.init(own, rank, key), unit)
    elif how == "given":
        factors = solver.warm(problem.to_whitened(given))
    else:
        factors = solver.multiplied(solver.warm(sketch(own.target, rank, key, how)), unit)
    controls = Controls(
        stop=dataclasses.replace(stop, tolerance=jnp.asarray(tolerance, problem.dtype), grow=None),
        steps=jnp.asarray(steps, jnp.int32),
        threshold=None if stop.grow is None else stop.grow.threshold(problem),
        unit=unit,
    )
    return controls, initial_progress(factors, key, active, staleness)


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
