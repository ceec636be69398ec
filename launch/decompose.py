"""Decompose real data or a matrix into rank-one components and compare with the exact answer.

python -m launch.decompose --data=digits --workdir=runs/digits
python -m launch.decompose --data=FILE.npz --rank=8 --method=sequential --budget=400
python -m launch.decompose --matrix=model.safetensors:encoder.weight --rank=16 --method=sharded
python -m launch.decompose --matrix=FILE.npy --method=sharded --mesh=worker:2,rows:4
python -m launch.decompose --matrix=FILE.npy --solver=krylov --tolerance=1e-4 --tolerance_of=error
python -m launch.decompose --data=digits --method=sharded --distributed=local/2 --workdir=runs/two

The same command with the same --workdir goes on where an earlier run stopped, also on another
number of devices and processes, and with more --rounds prolongs it; --overwrite starts anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib

import jax
from absl import flags

import deflation
from deflation.rounds.state import MEASURES
from launch.decomposing import inputs, portions
from launch.decomposing.report import compare, report, timed, write_files
from launch.shell import app, distributed, earlier, supervise
from launch.shell.locks import one_writer
from launch.shell.outputs import Workdir
from launch.shell.path_flags import define_path
from rankwise import devices
from rankwise.files import require_writable, write_json

METHODS = ("sequential", "parallel", "sharded", "exact")
# The parameters of each solver by the flags that set them.
SOLVERS = {
    "alternating": {"sweeps": "sweeps"},
    "gradient_descent": {"sweeps": "steps", "step_size": "step_size"},
    "krylov": {"depth": "depth"},
}
ROUNDS = 200
# Of a run from a sketch that names none; one from random factors uses its whole budget.
TOLERANCE = 1e-4
# Settings that a resumed run may change: more rounds, where it runs, and where the report goes.
FREE = ("rounds", "mesh", "distributed", "json", "workdir", "overwrite")
AXES = ("worker", "rows")


@dataclasses.dataclass(frozen=True)
class DecomposeConfig:
    """The flags of `python -m launch.decompose`."""

    data: str | None
    matrix: str | None
    rank: int
    method: str
    solver: str
    sweeps: int
    depth: int | None
    step_size: float | None
    rounds: int | None
    budget: int | None
    tolerance: float | None
    tolerance_of: str
    init: str
    dtype: str
    seed: int
    mesh: list[str]
    distributed: str | None
    json: str | None
    workdir: str | None
    overwrite: bool

    def __post_init__(self):
        devices.parse(self.mesh, AXES)
        readers = {
            "rounds": ("parallel", "sharded"),
            "budget": ("sequential",),
            "mesh": ("sharded",),
            "distributed": ("sharded",),
        }
        options = {
            flag: [name for name, others in SOLVERS.items() if flag in others]
            for parameters in SOLVERS.values()
            for flag in parameters
        }
        for chosen, flags_of in ((self.method, readers), (self.solver, options)):
            for name, allowed in flags_of.items():
                if getattr(self, name) not in (None, []) and chosen not in allowed:
                    raise ValueError(f"--{name} is for {' and '.join(allowed)}, not {chosen}")

    def stops(self) -> bool:
        """Whether components stop at a tolerance."""
        return self.tolerance is not None or self.init == "sketch"

    def cut(self) -> bool:
        """Whether the rows of M are cut."""
        return devices.parse(self.mesh, AXES).get("rows", 1) > 1


def define_flags() -> None:
    """One flag per field of `DecomposeConfig`."""
    define_path("data", None, "digits, or FILE.npz with x (d, n) and y (m, n)")
    define_path("matrix", None, "FILE.npy or FILE.safetensors:KEY, an (m, d) matrix")
    flags.DEFINE_integer("rank", 10, "number of components", lower_bound=1)
    flags.DEFINE_enum("method", "parallel", METHODS, "way to run")
    flags.DEFINE_enum("solver", "alternating", tuple(SOLVERS), "rank-one solver of each worker")
    flags.DEFINE_integer("sweeps", None, "sweeps, or descent steps, per round (1)", lower_bound=1)
    flags.DEFINE_integer("depth", None, "Krylov vectors per round (4)", lower_bound=1)
    flags.DEFINE_float("step_size", None, "of gradient descent; adaptive by default")
    flags.DEFINE_integer("rounds", None, "of parallel and sharded runs (200)", lower_bound=1)
    flags.DEFINE_integer("budget", None, "rounds of a sequential run in all (50 per component)")
    flags.DEFINE_float(
        "tolerance", None, f"stop a component at this, relative to its size ({TOLERANCE} of sketch)"
    )
    flags.DEFINE_enum(
        "tolerance_of", "error", MEASURES, "last move, or error estimated from its rate"
    )
    flags.DEFINE_enum("init", "sketch", ("random", "sketch"), "first factors")
    flags.DEFINE_enum("dtype", "float32", ("float32", "float64"), "of the whole computation")
    flags.DEFINE_integer("seed", 0, "of the first factors", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_list("mesh", [], "devices, as worker:4, or worker:2,rows:4 to cut M; else all")
    flags.DEFINE_string("distributed", None, f"join other processes: {distributed.ALLOWED}")
    define_path("json", None, "file for the result")
    define_path("workdir", None, "folder for components, pictures, state and result")
    flags.DEFINE_bool("overwrite", False, "start anew: delete the files of a run in --workdir")


def main(config: DecomposeConfig) -> int | None:
    """Runs the decomposition, prints the comparison and writes the files."""
    require_writable(config.json)
    _require_read(config)
    going_on(config)  # here for the supervised too: before processes are started
    saved = None if config.workdir is None else pathlib.Path(config.workdir) / earlier.SAVED
    if supervise.parent(config.distributed):
        return supervise.run("launch.decompose", config.distributed, saved)
    distributed.join(config.distributed)
    wide = jax.enable_x64(True) if config.dtype == "float64" else contextlib.nullcontext()
    folder = config.workdir if distributed.first() else None
    with one_writer(folder), wide:
        decompose(config, folder, saved if going_on(config) else None)


def decompose(config: DecomposeConfig, folder: str | None, saved: pathlib.Path | None) -> None:
    """Runs it in `folder`, from the state in `saved`."""
    # The whole of an M that is cut is on the host alone, where the exact answer is found.
    host = jax.local_devices(backend="cpu")[0] if config.cut() else None
    with jax.default_device(host):
        given = inputs.load(config.data, config.matrix, config.dtype)
    problem = jax.device_put(given.problem, host)
    with app.stage("finding the exact answer"):
        exact, exact_seconds = timed(lambda: deflation.exact(problem, config.rank))
    if config.method != "exact":
        state, rounds = first_state(config, problem)
        state = portions.resumed(state, rounds, saved)
    # Only now, when nothing was refused, is anything written or deleted.
    if config.overwrite and folder is not None:
        earlier.clear(folder)
    workdir = Workdir(folder, config, resume=saved is not None)
    if config.method == "exact":
        run = portions.Run(exact, exact_seconds)
    else:
        run = portions.run(state, rounds, workdir)
    if not distributed.first():
        return
    result = compare(problem, config.method, run, exact)
    report(problem, result, run.solution, exact_seconds)
    write_json(config.json, result)
    if workdir.folder is not None:
        write_files(workdir.folder, given, run.solution, result)
    workdir.result(result)


def going_on(config: DecomposeConfig) -> bool:
    """Whether the folder holds a run that this one continues; ValueError for another one."""
    # Without a tolerance nothing is held against it, whatever an earlier default was.
    free = FREE if config.stops() else (*FREE, "tolerance_of")
    return not config.overwrite and earlier.same_run(config.workdir, config, free)


def _require_read(config: DecomposeConfig) -> None:
    """Refuses flags that are given and would not be read; `DecomposeConfig` knows no others."""
    unread = ()
    if config.method == "exact":
        unread = ("solver", *SOLVERS["alternating"], "depth", "step_size", "tolerance")
        unread += ("tolerance_of", "init", "seed")
    elif not config.stops():
        unread = ("tolerance_of",)
    for given in app.given(unread, without=()):
        needs = "another --method" if config.method == "exact" else "--tolerance"
        raise ValueError(f"{given} has no effect without {needs}; allowed is to leave it out")


def first_state(config: DecomposeConfig, problem) -> tuple[deflation.State, int]:
    """The state before the first round, and how many rounds to run in all."""
    given = {name: getattr(config, flag) for flag, name in SOLVERS[config.solver].items()}
    given = {name: value for name, value in given.items() if value is not None}
    solver = getattr(deflation, config.solver)(**given)
    options = {name: getattr(config, name) for name in ("init", "tolerance", "tolerance_of")}
    if config.tolerance is None and config.init == "sketch":
        options["tolerance"] = TOLERANCE
    rounds = ROUNDS if config.rounds is None else config.rounds
    if config.method == "sequential":
        total = 50 * config.rank if config.budget is None else config.budget
        options["budget"] = deflation.budgets.as_budget(total, config.rank)
        rounds = options["budget"].total
    if config.mesh:
        sizes = dict.fromkeys(AXES, 1) | devices.parse(config.mesh, AXES)
        options |= {"mesh": devices.make(sizes), "row_axis": "rows" if config.cut() else None}
    options["key"] = jax.random.key(config.seed)
    state = deflation.start(problem, config.rank, solver, method=config.method, **options)
    return state, rounds


if __name__ == "__main__":
    app.run(main, define_flags, DecomposeConfig)
