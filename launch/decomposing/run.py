"""A decomposition from its configuration to its files."""

from __future__ import annotations

import pathlib

import jax

import deflation
from launch.decomposing import inputs, portions, rows
from launch.decomposing.config import (
    AXES,
    ROUNDS,
    SOLVERS,
    TOLERANCE,
    WITHOUT_ROUNDS,
    DecomposeConfig,
)
from launch.decomposing.report import compare, report, timed, write_files
from launch.shell import distributed, earlier, waiting
from launch.shell.outputs import Workdir
from rankwise import devices
from rankwise.files import write_json


def decompose(config: DecomposeConfig, folder: str | None, saved: pathlib.Path | None) -> dict:
    """Runs it in `folder`, from the state in `saved`; the record of --json, {} elsewhere."""
    mesh = devices.make(dict.fromkeys(AXES, 1) | config.axes) if config.mesh else None
    with waiting.stage("reading"):
        data = _input(config, mesh)
    problem, exact, exact_seconds = data.problem, None, None
    if devices.whole(problem.target):
        with waiting.stage("finding the exact answer"):
            exact, exact_seconds = timed(lambda: deflation.exact(problem, config.rank))
    reached = 0
    if config.method not in WITHOUT_ROUNDS:
        state, rounds = first_state(config, problem, mesh)
        state = portions.resumed(state, rounds, saved)
        reached = int(state.progress.round)
    # Only now, when nothing was refused, is anything written or deleted.
    if config.overwrite and folder is not None:
        earlier.clear(folder)
    workdir = Workdir(folder, config, upto=reached)
    if config.method == "exact":
        run = portions.Run(exact, exact_seconds)
    elif config.method == "auto":
        tolerance = TOLERANCE if config.tolerance is None else config.tolerance
        run = portions.Run(
            *timed(lambda: deflation.decompose(problem, config.rank, tolerance=tolerance))
        )
    else:
        run = portions.run(state, rounds, workdir)
    result = compare(problem, config.method, run, exact)  # by all, as each may have rows of M
    if not distributed.is_main_process():
        return {}
    report(problem, result, run.solution, exact_seconds)
    write_json(config.json, result)
    if workdir.folder is not None:
        write_files(workdir.folder, data, run.solution, result)
    workdir.result(result)
    return result


def _input(config: DecomposeConfig, mesh: jax.sharding.Mesh | None) -> inputs.Input:
    if rows.apart(mesh):
        return inputs.Input(rows.problem(config.matrix, config.dtype, mesh))
    # The whole of an M that is cut is on the host alone, where the exact answer is found.
    host = jax.local_devices(backend="cpu")[0] if config.cut() else None
    with jax.default_device(host):
        data = inputs.load(config.data, config.matrix, config.dtype)
    return data._replace(problem=jax.device_put(data.problem, host))


def first_state(config: DecomposeConfig, problem, mesh) -> tuple[deflation.State, int]:
    """The state before the first round, and how many rounds to run in all."""
    parameters = {name: getattr(config, flag) for flag, name in SOLVERS[config.solver].items()}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    solver = getattr(deflation, config.solver)(**parameters)
    options = {name: getattr(config, name) for name in ("init", "tolerance", "tolerance_of")}
    if config.tolerance is None and config.init == "sketch":
        options["tolerance"] = TOLERANCE
    rounds = ROUNDS if config.rounds is None else config.rounds
    if config.method == "sequential":
        total = 50 * config.rank if config.budget is None else config.budget
        options["budget"] = deflation.budgets.as_budget(total, config.rank)
        rounds = options["budget"].total
    if mesh is not None:
        options |= {"mesh": mesh, "row_axis": rows.AXIS if config.cut() else None}
    options["key"] = jax.random.key(config.seed)
    state = deflation.start(problem, config.rank, solver, method=config.method, **options)
    return state, rounds
