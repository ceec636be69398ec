"""Time our programs beside what a user would pick instead, in one process, one after the other.

python -m launch.benchmark --suite=decompose [--size=quick|full] [--json=PATH] [--figure=PATH]
                           [--data_dir=FOLDER_WITH_MNIST.NPZ] [--model=MODEL_FOLDER]
python -m launch.benchmark --suite=finetune --model=MODEL_FOLDER [--json=PATH]
python -m launch.benchmark --suite=scaling --size=quick [--json=PATH]

Every number is a median of warm repetitions that alternate between the two; only their ratio means
something on a shared machine. The suite finetune needs torch, transformers and peft; scaling has
its own rules, see scaling_suite.py.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib

import jax
import threadpoolctl
from absl import flags

from launch import (
    app,
    decompose_picture,
    decompose_rates,
    decompose_suite,
    lora_step,
    pictures,
    scaling_suite,
)
from launch.outputs import require_writable, write_json
from launch.tables import table
from launch.timing import alternating

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


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """The flags of `python -m launch.benchmark`."""

    suite: str
    model: str | None
    batch_size: int
    length: int
    rank: int
    repeats: int
    size: str
    data_dir: str | None
    json: str | None
    figure: str | None

    def __post_init__(self):
        if self.suite == "finetune" and self.model is None:
            raise ValueError("--model is needed: a folder with a BERT")
        require_writable(self.json)


def define_flags() -> None:
    """One flag per field of `BenchmarkConfig`."""
    flags.DEFINE_enum("suite", "finetune", tuple(SUITES), "what is timed")
    flags.DEFINE_string("model", None, "folder of a pretrained BERT; decompose: of any weights")
    flags.DEFINE_string("data_dir", None, "decompose: folder with mnist.npz")
    flags.DEFINE_integer("batch_size", 32, "rows per step", lower_bound=1)
    flags.DEFINE_integer("length", 64, "tokens per row", lower_bound=1)
    flags.DEFINE_integer("rank", 2, "of LoRA", lower_bound=1)
    flags.DEFINE_integer("repeats", 9, "steps timed of each", lower_bound=5)
    flags.DEFINE_enum("size", "quick", tuple(decompose_suite.SIZES), "of decompose and scaling")
    flags.DEFINE_string("json", None, "file for the rows")
    flags.DEFINE_string("figure", None, "decompose: PATH.png and PATH.svg are written")


def main(config: BenchmarkConfig) -> None:
    """Runs a suite, prints its rows and writes them."""
    threads = len(os.sched_getaffinity(0))
    rows, note = SUITES[config.suite](config, threads)
    print(table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
    print(f"{threads} threads; {note}")
    write_json(config.json, rows)


def decompose(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Time to an error, beside other ways to the leading components of a matrix."""
    # XLA takes a thread per CPU whatever the environment says to BLAS: the others get as many.
    with threadpoolctl.threadpool_limits(threads):
        rows, points = decompose_suite.run(
            config.size, config.repeats, config.data_dir, config.model
        )
        rows += decompose_rates.rows(config.size, config.repeats)
    if config.figure is not None:
        pictures.write(decompose_picture.draw(rows, points), pathlib.Path(config.figure))
    return rows, f"the same for XLA and BLAS; {decompose_suite.versions()}"


def scaling(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Rounds over devices: what one computes, and a model of several."""
    del threads
    return scaling_suite.rows(scaling_suite.SIZES[config.size]), "see launch/scaling_suite.py"


def finetune(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """A step of LoRA here and in PEFT, and their losses before the first step."""
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
    return [row], "error: difference of the losses before training"


SUITES = {"decompose": decompose, "finetune": finetune, "scaling": scaling}


if __name__ == "__main__":
    app.run(main, define_flags, BenchmarkConfig)
