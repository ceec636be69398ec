"""The flags of `python -m launch.decompose`, and which of them go together."""

from __future__ import annotations

import dataclasses
import functools

from deflation.rounds.options import MEASURES
from launch.shell import app, distributed, earlier
from launch.shell.config_flags import LARGEST_SEED
from rankwise import devices
from rankwise.options import option

METHODS = ("sequential", "parallel", "sharded", "exact", "auto")
WITHOUT_ROUNDS = ("exact", "auto")
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
    """The matrix, how it is taken apart, and where the result goes."""

    data: str | None = option(
        None, "the data of a regression: digits, or FILE.npz with x (d, n) and y (m, n)", path=True
    )
    matrix: str | None = option(
        None,
        "in place of --data an (m, d) matrix: FILE.npy or FILE.safetensors:KEY; a KEY with * is "
        "every matrix that fits it, each as it is stored (8-bit floats without their scales)",
        path=True,
    )
    rank: int = option(10, "number of components", lower=1)
    method: str = option(
        "parallel",
        "how components are computed: in turn, in parallel, in parallel over devices, by a "
        "decomposition of the whole, or by what is fastest for the size, to --tolerance",
        METHODS,
    )
    solver: str = option("alternating", "rank-one solver of each worker", tuple(SOLVERS))
    sweeps: int | None = option(
        None,
        "alternating: sweeps per round; gradient_descent: steps per round; by default 1",
        lower=1,
    )
    depth: int | None = option(
        None, "krylov: vectors of the Krylov space per round; by default 4", lower=1
    )
    step_size: float | None = option(
        None, "gradient_descent: size of a step; by default it adapts itself"
    )
    rounds: int | None = option(
        None, f"rounds of a parallel or sharded run; by default {ROUNDS}", lower=1
    )
    budget: int | None = option(
        None, "rounds of a sequential run in all; by default 50 per component"
    )
    tolerance: float | None = option(
        None,
        "stop a component at this, relative to its size; by default "
        f"{TOLERANCE} with --init=sketch or --method=auto, and not at all with random",
    )
    tolerance_of: str = option(
        "error",
        "what --tolerance bounds: the error, estimated from the rate of convergence, or the last "
        "move",
        MEASURES,
    )
    init: str = option(
        "sketch",
        "first factors: those of a random sketch of the matrix, or random ones",
        ("random", "sketch"),
    )
    dtype: str = option("float32", "type of the whole computation", ("float32", "float64"))
    seed: int = option(0, "seed of the first factors", lower=0, upper=LARGEST_SEED)
    mesh: tuple[str, ...] = option(
        (),
        "sharded: devices along each axis, as worker:4, or worker:2,rows:4 to cut the rows of the "
        "matrix; rows over several processes are read from FILE.npy by each its own; by default "
        "all along worker",
    )
    distributed: str | None = option(
        None, f"sharded: run as several processes: {distributed.ALLOWED}; by default as one"
    )
    json: str | None = option(None, "write the result to this file, an object", written="file")
    workdir: str | None = option(
        None,
        "folder for components, pictures, state and result; without it none are written",
        path=True,
    )
    overwrite: bool = option(
        False, "start anew: delete the files of an earlier run in --workdir first"
    )

    def __post_init__(self):
        _ = self.axes  # an axis that is not known is refused first
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
                if getattr(self, name) not in (None, ()) and chosen not in allowed:
                    raise ValueError(f"--{name} is for {' and '.join(allowed)}, not {chosen}")

    @functools.cached_property
    def axes(self) -> dict[str, int]:
        """Axis of --mesh -> devices along it."""
        return devices.parse(self.mesh, AXES)

    def stops(self) -> bool:
        """Whether components stop at a tolerance."""
        return self.tolerance is not None or self.init == "sketch"

    def cut(self) -> bool:
        """Whether the rows of M are cut."""
        return self.axes.get("rows", 1) > 1


def going_on(config: DecomposeConfig) -> bool:
    """Whether the folder holds a run that this one continues; ValueError for another one."""
    # Without a tolerance nothing is held against it, whatever an earlier default was.
    free = FREE if config.stops() else (*FREE, "tolerance_of")
    return not config.overwrite and earlier.same_run(config.workdir, config, free)


def require_read(config: DecomposeConfig) -> None:
    """Refuses flags that are given and would not be read; `DecomposeConfig` knows no others."""
    unread = ()
    if config.method in WITHOUT_ROUNDS:
        of_solvers = dict.fromkeys(flag for flags in SOLVERS.values() for flag in flags)
        unread = ("solver", *of_solvers, "tolerance_of", "init", "seed")
        unread += ("tolerance",) if config.method == "exact" else ()
    elif not config.stops():
        unread = ("tolerance_of",)
    for text in app.given(unread, without=()):
        needs = "another --method" if config.method in WITHOUT_ROUNDS else "--tolerance"
        raise ValueError(f"{text} has no effect without {needs}; allowed is to leave it out")
