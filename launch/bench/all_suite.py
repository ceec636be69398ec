"""All suites in one run, and the page of goals that their rows are held against."""

from __future__ import annotations

import pathlib
import platform
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from launch.bench import goals
from launch.bench.timing import alternating

Suite = Callable[[], tuple[list[dict[str, Any]], str]]
SIDE = 1024  # of the product that a machine is told by
FAILURES = (ValueError, RuntimeError, OSError, ImportError)
"""Of a suite that cannot run here: a package, a file or a device that is not there."""


def run(suites: Mapping[str, Suite]) -> tuple[list[dict[str, Any]], str]:
    """The rows of all suites, and the page; a suite that cannot run is said so on it, and how long
    each took."""
    rows, reasons, spent = [], {}, {}
    for name, suite in suites.items():
        started = time.perf_counter()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            rows += suite()[0]
        except FAILURES as error:
            reasons[name] = str(error).splitlines()[0]
        spent[name] = time.perf_counter() - started
        total = f"{sum(spent.values()):.0f} s in all"
        print(f"{name}: {spent[name]:.0f} s, {total}", file=sys.stderr, flush=True)
    parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.items())
    return rows, f"{machine()}\n\n{goals.page(rows, reasons)}\n{total}: {parts}"


def machine() -> str:
    """The processor, or accelerator, and its rate of float32 products."""
    matrix = jnp.ones((SIDE, SIDE), jnp.float32)
    product = jax.jit(jnp.matmul)
    call = lambda: product(matrix, matrix).block_until_ready()  # noqa: E731
    call()
    rate = 2 * SIDE**3 / alternating([call], 5)[0]
    device = jax.devices()[0]
    name = processor() if device.platform == "cpu" else device.device_kind
    return f"{name}: {rate / 1e9:.3g} GFLOP/s in float32 products; jax {jax.__version__}"


def processor() -> str:
    """The name that the system has for it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
