"""All that an accelerator is to be measured by, in one call of less than ten minutes.

Every case runs in a process of its own, for so long at most, and the rows are written after each:
one that fails, or for which time is out, leaves a row that says so and takes no other with it. The
first measures the device's rates of products (float32 in full precision, bfloat16) and of memory;
decomposing and fine-tuning are held against the roofline of these, the longer of their operations
and of their bytes at the rates, so that their ratio is the share of it that they reach; a round,
moments and generation against products or reading of their own. Solvers compute in float32 (or
float64): only networks have a bfloat16.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from launch.bench.rows import record
from launch.shell import waiting

ROOT = pathlib.Path(__file__).parents[2]
LIMIT, OF_A_CASE, LEAST = 540.0, 150.0, 10.0
"""Seconds of all cases, of one, and for which none is begun any more."""
CASES = (
    ("rates", "float32"),
    ("lora", "bfloat16"),
    ("decompose", "float32"),
    ("generation", "bfloat16"),
    ("lora", "float32"),
    ("round", "float32"),
    ("moments", "float32"),
    ("generation", "float32"),
)
"""What is wanted most comes first."""


def run(
    size: str,
    model: str | None,
    save: Callable[[list], None],
    cases: Sequence[tuple[str, str]] = CASES,
    limit: float = LIMIT,
) -> tuple[list[dict[str, Any]], str]:
    """The rows, and a note.

    Args:
      size: a name of `accelerator_cases.SIZES`.
      model: folder of a BERT; None for one of MiniLM's sizes with random weights.
      save: called with all rows after every case.
      cases: of `CASES`.
      limit: seconds of all.
    """
    rows, rates, device, started = [], {}, "no device", time.monotonic()
    for name, dtype in waiting.progress(cases, len(cases), "cases"):
        payload = {"case": name, "dtype": dtype, "size": size, "model": model, "rates": rates}
        left = limit - (time.monotonic() - started)
        told, reason = ([], "time is out") if left < LEAST else _told(payload, min(left, OF_A_CASE))
        device = next((line["device"] for line in told if "device" in line), device)
        new = [line for line in told if "suite" in line]
        for row in new:
            rates |= row.get("rate", {})
        if reason:
            names = "-", f"not measured: {reason}"
            new.append(record("accelerator", f"{name}, {dtype}", names, (None, None), (None, None)))
        rows += new
        save(rows)
    seconds = time.monotonic() - started
    return rows, f"{device}; {seconds:.0f} s in all"


def _told(payload: dict, limit: float) -> tuple[list[dict], str | None]:
    """The lines of a process, and why there are no more of them."""
    command = [sys.executable, "-m", "launch.bench.accelerator_cases", json.dumps(payload)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    reason = None
    try:
        process = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            timeout=limit,
            check=False,
        )
        out = process.stdout
        if process.returncode:
            lines = process.stderr.decode(errors="replace").strip().splitlines()
            reason = lines[-1][:200] if lines else f"status {process.returncode}"
    except subprocess.TimeoutExpired as error:
        out, reason = error.stdout or b"", f"not finished within {limit:.0f} s"
    # The last line may be cut short.
    whole = out.decode()[: out.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")], reason
