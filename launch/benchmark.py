"""Time our programs beside what a user would pick instead, in one process, one after the other.

python -m launch.benchmark --suite=decompose [--size=quick|full] [--json=PATH] [--figure=PATH]
                           [--data_dir=FOLDER_WITH_MNIST.NPZ] [--model=MODEL_FOLDER]
                           [--cases=PATTERN]
python -m launch.benchmark --suite=finetune --model=MODEL_FOLDER [--size=quick|full] [--json=PATH]
                           [--dtype=float32|bfloat16]
python -m launch.benchmark --suite=claims [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=scaling [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=status [--size=quick|full] [--json=PATH]

Every number is a median of warm repetitions that alternate between the two; only their ratio means
something on a shared machine. The suite finetune needs torch, transformers and peft; scaling has
its own rules, see scaling_suite.py; status counts errors and not seconds, see status_suite.py.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re

import threadpoolctl
from absl import flags

from launch.bench import (
    claims_suite,
    decompose_picture,
    decompose_rates,
    decompose_suite,
    finetune_suite,
    scaling_suite,
    status_suite,
)
from launch.bench.rows import COLUMNS
from launch.shell import app
from launch.shell.path_flags import define_path
from launch.shell.tables import table
from linear_theory import registry
from rankwise.files import require_writable, write_json
from rankwise.plots.files import save as save_figure


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """The flags of `python -m launch.benchmark`."""

    suite: str
    model: str | None
    batch_size: int | None
    length: int | None
    rank: int
    dtype: str
    repeats: int
    size: str
    data_dir: str | None
    cases: str
    json: str | None
    figure: str | None

    def __post_init__(self):
        if self.suite == "finetune" and self.model is None:
            raise ValueError("--model is needed: a folder with a BERT")
        require_writable(self.json)
        try:
            re.compile(self.cases)
        except re.error as error:
            raise ValueError(
                f"cases is {self.cases!r}; allowed is a regular expression ({error})"
            ) from None


def define_flags() -> None:
    """One flag per field of `BenchmarkConfig`."""
    flags.DEFINE_enum("suite", "finetune", tuple(SUITES), "what is timed")
    define_path("model", None, "folder of a pretrained BERT; decompose: of any weights")
    define_path("data_dir", None, "decompose: folder with mnist.npz")
    flags.DEFINE_string("cases", "", "decompose: only cases in whose name this pattern is found")
    flags.DEFINE_integer("batch_size", None, "rows per step, else by --size", lower_bound=1)
    flags.DEFINE_integer("length", None, "tokens per row, else by --size", lower_bound=1)
    flags.DEFINE_integer("rank", 2, "components per module", lower_bound=2)
    flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "finetune: of the computation")
    flags.DEFINE_integer("repeats", 9, "steps timed of each", lower_bound=5)
    flags.DEFINE_enum("size", "quick", tuple(decompose_suite.SIZES), "of the problems")
    define_path("json", None, "file for the rows")
    define_path("figure", None, "decompose: PATH.png and PATH.svg are written")


def main(config: BenchmarkConfig) -> None:
    """Runs a suite, prints its rows and writes them."""
    threads = len(os.sched_getaffinity(0))
    rows, note = SUITES[config.suite](config, threads)
    print(table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
    print(f"{threads} threads; {note}")
    write_json(config.json, rows)


def decompose(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Time to an error, beside other ways to the leading components of a matrix."""
    size, rows, points = config.size, [], {}
    every = decompose_suite.cases(size, config.data_dir, config.model)
    chosen, rates = (
        {name: case for name, case in cases.items() if re.search(config.cases, name)}
        for cases in (every, decompose_rates.cases(size))
    )
    if not chosen and not rates:
        raise ValueError(
            f"cases is {config.cases!r}; allowed is what is found in a name such as "
            f"{next(iter(every))!r}"
        )
    if config.figure is not None and not any(map(decompose_picture.made, chosen)):
        raise ValueError(
            f"figure is {config.figure!r}; allowed with these cases is none, as it shows matrices "
            f"of the spectra {', '.join(decompose_suite.SPECTRA)}"
        )
    limit = decompose_suite.SIZES[size][1]
    # XLA takes a thread per CPU whatever the environment says to BLAS: the others get as many.
    with threadpoolctl.threadpool_limits(threads):
        for name, found, climbed in decompose_suite.run(chosen, limit, config.repeats):
            points[name] = climbed
            rows += found
            write_json(config.json, rows)  # a run of hours that is stopped keeps what it has
        rows += [measure(config.repeats) for measure in rates.values()]
    if config.figure is not None:
        save_figure(decompose_picture.draw(rows, points), pathlib.Path(config.figure))
    return rows, f"the same for XLA and BLAS; {decompose_suite.versions()}"


def scaling(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Rounds over devices: what one computes, and a model of several."""
    del threads
    return scaling_suite.rows(scaling_suite.SIZES[config.size]), "see launch/bench/scaling_suite.py"


def finetune(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """A step of adapters here and in PEFT, its phases, and what is possible."""
    standard = finetune_suite.SIZES[config.size]
    batch = (config.batch_size or standard[0], config.length or standard[1])
    return finetune_suite.run(
        config.model, batch, config.rank, config.repeats, threads, config.dtype
    )


def claims(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Warm seconds of every claim's check, beside its first call."""
    del threads
    trials = claims_suite.TRIALS[config.size]
    return claims_suite.run(list(registry().values()), trials, config.repeats)


def status(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """What the status of a run claims, beside the truth."""
    del threads
    return status_suite.run(status_suite.PROBLEMS[config.size])


SUITES = {
    "decompose": decompose,
    "finetune": finetune,
    "claims": claims,
    "scaling": scaling,
    "status": status,
}


if __name__ == "__main__":
    app.run(main, define_flags, BenchmarkConfig)
