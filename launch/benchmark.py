"""Time our programs beside what a user would pick instead, in one process, one after the other.

python -m launch.benchmark --suite=finetune --model=MODEL_FOLDER [--json=PATH]
python -m launch.benchmark --suite=scaling --size=quick [--json=PATH]

Every number is a median of warm repetitions that alternate between the two; only their ratio means
something on a shared machine. The suite finetune needs torch, transformers and peft; scaling has
its own rules, see scaling_suite.py.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable

import jax
from absl import flags

from launch import app, lora_step, scaling_suite
from launch.outputs import require_writable, write_json
from launch.tables import table

COLUMNS = (
    "suite",
    "case",
    "ours",
    "competitor",
    "seconds_ours",
    "seconds_competitor",
    "error_ours",
    "error_competitor",
    "ratio",
)
SUITES = {"scaling": lambda size: scaling_suite.rows(scaling_suite.SIZES[size])}
"""Suites that need a size alone."""


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """The flags of `python -m launch.benchmark`."""

    suite: str
    size: str
    model: str | None
    batch_size: int
    length: int
    rank: int
    repeats: int
    json: str | None

    def __post_init__(self):
        if self.model is None and self.suite not in SUITES:
            raise ValueError("--model is needed: a folder with a BERT")
        require_writable(self.json)


def define_flags() -> None:
    """One flag per field of `BenchmarkConfig`."""
    flags.DEFINE_enum("suite", "finetune", ("finetune", *SUITES), "what is timed")
    flags.DEFINE_enum("size", "quick", ("quick", "full"), "of the suites other than finetune")
    flags.DEFINE_string("model", None, "folder of a pretrained BERT")
    flags.DEFINE_integer("batch_size", 32, "rows per step", lower_bound=1)
    flags.DEFINE_integer("length", 64, "tokens per row", lower_bound=1)
    flags.DEFINE_integer("rank", 2, "of LoRA", lower_bound=1)
    flags.DEFINE_integer("repeats", 9, "steps timed of each", lower_bound=5)
    flags.DEFINE_string("json", None, "file for the rows")


def main(config: BenchmarkConfig) -> None:
    """Times what the suite says, prints the rows and writes them."""
    if config.suite in SUITES:
        rows = SUITES[config.suite](config.size)
        print(table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
        write_json(config.json, rows)
    else:
        finetune(config)


def finetune(config: BenchmarkConfig) -> None:
    """Times a step of LoRA here and in PEFT, and compares their losses before the first step."""
    threads = len(os.sched_getaffinity(0))
    ours = lora_step.ours(config.model, config.batch_size, config.length, config.rank)
    theirs = lora_step.peft(config.model, config.batch_size, config.length, config.rank, threads)
    losses = [ours(), theirs()]  # compiles; the adapter is still zero
    seconds = alternating([ours, theirs], config.repeats)
    row = {
        "suite": config.suite,
        "case": f"LoRA r={config.rank}, {config.batch_size} x {config.length} tokens",
        "ours": f"jax {jax.__version__}",
        "competitor": lora_step.versions(),
        "seconds_ours": seconds[0],
        "seconds_competitor": seconds[1],
        "error_ours": 0.0,
        "error_competitor": abs(losses[0] - losses[1]),
        "ratio": seconds[1] / seconds[0],
    }
    print(table(COLUMNS, [[row[name] for name in COLUMNS]]))
    print(f"{threads} threads; error: difference of the losses before training")
    write_json(config.json, [row])


def alternating(functions: list[Callable[[], float]], repeats: int) -> list[float]:
    """Median seconds of each, called in turn, so that a disturbance meets all of them."""
    found: list[list[float]] = [[] for _ in functions]
    for _ in app.progress(range(repeats), repeats, "repeats"):
        for function, times in zip(functions, found, strict=True):
            started = time.perf_counter()
            function()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in found]


if __name__ == "__main__":
    app.run(main, define_flags, BenchmarkConfig)
