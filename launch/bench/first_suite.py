"""The first minute: imports, help, the first call of a shape, small problems, the table of claims.

Rows are held against seconds, or beside numpy's SVD; every process is a fresh one, without what
others have compiled:

    first call     wall seconds; the other programs of the process are not there yet
    overhead       a call whose one round and bounds have next to nothing to compute
    table, warm    the same command once more, in a new process, with the programs kept
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from launch.bench.goals import GOAL
from launch.bench.rows import bounded, record
from launch.shell import waiting

ROOT = pathlib.Path(__file__).parents[2]
SHAPES = {"quick": [(64, 4), (192, 8)], "full": [(64, 4), (192, 8), (1024, 64)]}
TRIALS = {"quick": 256, "full": 256}
"""Of the table of claims: the command's own default."""
PROGRESS = "claims: "  # of the lines by which it says how far it is


def run(size: str, claims: str = "") -> tuple[list[dict[str, Any]], str]:
    """The rows, and a note.

    Args:
      size: a name of `SHAPES`.
      claims: regular expression of those that the table holds, all of them by default.

    Raises:
      RuntimeError: a process failed.
    """
    rows = [_held("launch.check --help", _ended("-m", "launch.check", "--help")[0], 1.5)]
    calls = []
    for shape in waiting.progress(SHAPES[size], len(SHAPES[size]), "first calls"):
        calls.append(json.loads(_ended("-m", "launch.bench.first_call", json.dumps([shape]))[1]))
    quickest = min(calls, key=lambda call: call["import"])
    bound = bounded("import jax", quickest["jax"])
    rows.append(_held("import deflation", quickest["import"], 1.0, **bound))
    for entry in (call for one in calls for call in one["calls"]):
        shape = f"{entry['side']} x {entry['side']}, r = {entry['rank']}"
        more = {"processor_seconds": entry["processor"]}
        more |= bounded("XLA compiling", entry["compiling"])
        rows.append(_held(f"first call, {shape}", entry["first"], 1.0, **more))
        for name, key in (("exact", "exact"), ("50 rounds with bounds", "next")):
            pair = entry[key], entry["svd"]
            rows.append(_row(f"small problem, {shape}", (name, "numpy SVD"), pair))
    rows.append(_held("overhead of a call", min(call["overhead"] for call in calls), 1e-3))
    return rows + table(TRIALS[size], claims), "processes of their own, nothing compiled before"


def table(trials: int, claims: str) -> list[dict[str, Any]]:
    """The rows of the table of claims: its first row, cold and warm."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *("-m", "launch.check", f"--trials={trials}", f"--claims={claims}"),
            f"--jax_cache_dir={folder}/programs",
        ]
        for name, goal in (("cold", 90.0), ("warm", 30.0)):
            total, _, first = _ended(*command, first=f"{PROGRESS}1/")
            if name == "cold":
                rows.append(_held("first row of the table", first, 5.0))
            rows.append(_held(f"table of claims, {name}", total, goal))
    return rows


def _held(case: str, seconds: float, goal: float, **more: Any) -> dict[str, Any]:
    return _row(case, ("a fresh process", GOAL), (seconds, goal), **more)


def _row(case: str, names: tuple[str, str], seconds, **more: Any) -> dict[str, Any]:
    return record("first", case, names, seconds, (None, None), **more)


def _ended(*arguments: str, first: str = "") -> tuple[float, str, float | None]:
    """Seconds of a fresh Python, what it printed, and seconds to the line that begins like `first`
    on stderr."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command, lines, seen = [sys.executable, *arguments], [], None
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as out,
        subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        for line in process.stderr:
            lines.append(line)
            if first and line.startswith(PROGRESS):
                print(line, end="", file=sys.stderr, flush=True)
            if seen is None and first and line.startswith(first):
                seen = time.perf_counter() - started
        status = process.wait()
        seconds = time.perf_counter() - started
        out.seek(0)
        printed = out.read()
    if status:
        last = lines[-1].strip() if lines else "nothing on stderr"
        raise RuntimeError(f"{' '.join(arguments)} ended with status {status}: {last}")
    return seconds, printed, seen
