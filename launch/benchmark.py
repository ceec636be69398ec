"""Time our programs beside what a user would pick instead, in one process, one after the other.

python -m launch.benchmark --suite=all [--size=quick|full] [--model=MODEL_FOLDER] [--json=PATH]
python -m launch.benchmark --suite=decompose [--size=quick|full] [--json=PATH] [--figure=PATH]
                           [--data_dir=FOLDER_WITH_MNIST.NPZ] [--model=MODEL_FOLDER]
                           [--cases=PATTERN]
python -m launch.benchmark --suite=finetune --model=MODEL_FOLDER [--size=quick|full] [--json=PATH]
                           [--dtype=float32|bfloat16]
python -m launch.benchmark --suite=claims [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=scaling [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=status [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=adapters [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=first [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=moments|generation|disk [--size=quick|full] [--json=PATH]
python -m launch.benchmark --suite=accelerator --size=full [--model=MODEL_FOLDER] [--json=PATH]

all runs the suites that have goals, for up to 15 minutes, and prints one page: every goal, what was
measured, and PASS or the factor that is missing.

Every number is a median of warm repetitions that alternate between the two; only their ratio means
something on a shared machine. The suites finetune and adapters need torch, transformers and peft;
scaling has its own rules, see processes/scaling_suite.py; status counts errors and not seconds, see
status_suite.py.
"""

from __future__ import annotations

import os

from launch.bench.config import BenchmarkConfig
from launch.bench.rows import COLUMNS
from launch.bench.suites import SUITES
from launch.shell import app
from launch.shell.tables import table
from rankwise.files import write_json


def main(config: BenchmarkConfig) -> None:
    """Runs a suite, prints its rows and writes them."""
    threads = len(os.sched_getaffinity(0))
    rows, note = SUITES[config.suite](config, threads)
    if config.suite != "all":  # whose page is its note
        print(table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
    print(f"{threads} threads; {note}")
    write_json(config.json, rows)


if __name__ == "__main__":
    app.run(main, BenchmarkConfig)
