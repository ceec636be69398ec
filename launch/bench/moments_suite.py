"""Moments of a stream summed on the device, beside the products that they are made of, and the
host's factorisation of the same stream.

Seconds are those of a column: of a long stream less those of a short one, so that what is done once
(whitening) is in none of them. The error is the distance of M from the host's, relative; the stream
of that is short, as the host takes long.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation import Regression
from deflation.problem.streamed import BLOCK
from launch.bench.rows import record
from launch.bench.timing import in_turn
from launch.shell import waiting


class Size(NamedTuple):
    """Inputs, targets, columns of the long stream and of that for the host."""

    inputs: int
    targets: int
    columns: int
    compared: int


SIZES = {
    "quick": Size(1024, 256, 24 * BLOCK, 4 * BLOCK),
    "full": Size(4096, 1024, 488 * BLOCK, 8 * BLOCK),
}
REPEATS = 3


def run(size: Size) -> tuple[list[dict[str, Any]], str]:
    """The rows, and a note."""
    batches = _batches(size)
    x, y = (jnp.asarray(part) for part in batches[0])
    product = jax.jit(lambda x, y: jnp.concatenate([x, y]) @ x.T)

    def streamed(columns: int, on: str = "device") -> Regression:
        pairs = itertools.islice(itertools.cycle(batches), columns // BLOCK)
        return Regression.from_batches(pairs, on=on)

    long, short = size.columns, size.compared
    calls = [
        lambda: product(x, y).block_until_ready(),
        lambda: streamed(long),
        lambda: streamed(short),
    ]
    calls[0](), calls[2]()  # compiles
    shown = waiting.progress(range(REPEATS), REPEATS, "repeats")
    # The least, not the median: of a difference every disturbance is a part.
    whole, of_long, of_short = map(min, in_turn(calls, shown))
    started = time.perf_counter()
    exact = streamed(short, "host")
    host = (time.perf_counter() - started) / short
    error = _error(streamed(short), exact)
    column = (of_long - of_short) / (long - short)
    flops = 2 * size.inputs * (size.inputs + size.targets)
    case = f"a column, d = {size.inputs}, m = {size.targets}"
    rate = f"its products, {flops * BLOCK / whole / 1e9:.3g} GFLOP/s"
    rows = [
        record("moments", case, ("on the device", rate), (column, whole / BLOCK), (error, None)),
        record("moments", case, ("on the device", "host's QR"), (column, host), (error, 0.0)),
    ]
    return rows, f"{long} columns, {short} of them beside the host; jax {jax.__version__}"


def _batches(size: Size) -> list[tuple[np.ndarray, np.ndarray]]:
    """Different ones, as many as the short stream has: inputs of a small condition."""
    g, batches = np.random.default_rng(0), []
    weight = g.normal(size=(size.targets, size.inputs)).astype(np.float32)
    for _ in range(size.compared // BLOCK):
        x = g.normal(size=(size.inputs, BLOCK)).astype(np.float32)
        batches.append((x, weight @ x))
    return batches


def _error(device: Regression, host: Regression) -> float:
    return float(np.linalg.norm(device.target - host.target) / np.linalg.norm(host.target))
