"""What rounds and the reduction cost by themselves, beside the least that they could.

A round: ten consistent rounds in one loop beside the products with M that they are made of, in the
same shapes, so that the ratio is the share of the machine's product rate that a round reaches.
The reduction: seconds per column of n streamed columns beside those of the shortest stream; the
ratio is 1 where the cost of a column does not grow with n.
"""

from __future__ import annotations

import functools
import tracemalloc
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import deflation
from deflation.problem.targets import times, times_transposed
from launch.bench.decompose_suite import spectral
from launch.bench.rows import record
from launch.bench.timing import alternating

ROUNDS = 10
SHAPES = {
    "quick": [(512, 512, 64)],
    "full": [(1024, 1024, 64), (4096, 4096, 64), (4096, 4096, 256)],
}
STREAMS = {"quick": (10_000, 100_000), "full": (10_000, 100_000, 1_000_000)}
INPUTS, TARGETS, BATCH = 64, 32, 1000


def cases(size: str) -> dict[str, Callable[[int], dict]]:
    """By name, functions of the number of repeats that return a row; the error of a reduction is
    that of M, relative."""
    measures = {
        f"a round of {m} x {d}, r = {rank}": functools.partial(round_row, m, d, rank)
        for m, d, rank in SHAPES[size]
    }
    shortest, *longer = STREAMS[size]
    measures |= {
        f"a column of n = {n}, m = {TARGETS}, d = {INPUTS}": functools.partial(
            stream_row, n, shortest
        )
        for n in longer
    }
    return measures


def round_row(m: int, d: int, rank: int, repeats: int) -> dict:
    """A consistent round beside its two products (M a_k)_k and (M^T b_k)_k."""
    problem = deflation.Regression.from_matrix(spectral("power law", m, d, rank))
    solver = deflation.alternating(consistent=True)
    state = deflation.start(problem, rank, solver, init="sketch")
    first = state.progress.factors.a

    @jax.jit
    def products(matrix, rows):
        def pair(_, rows):
            # Scaled, as powers of M would leave the range of the dtype.
            return times_transposed(matrix, times(matrix, rows)) / jnp.sum(rows[0] ** 2)

        return jax.lax.fori_loop(0, ROUNDS, pair, rows)

    def ours():
        jax.block_until_ready(deflation.advance(state, ROUNDS).progress)

    def theirs():
        jax.block_until_ready(products(problem.target, first))

    ours(), theirs()  # compiles
    measured, least = (seconds / ROUNDS for seconds in alternating([ours, theirs], repeats))
    rate = 4 * m * d * rank / least / 1e9
    return record(
        "decompose",
        f"a round of {m} x {d}, r = {rank}",
        ("a consistent round", f"its products, {rate:.3g} GFLOP/s"),
        (measured, least),
        (None, None),
    )


def stream_row(columns: int, shortest: int, repeats: int) -> dict:
    """The reduction of a stream beside that of the shortest: seconds per column."""
    lengths = (columns, shortest)
    calls = [functools.partial(reduction, n) for n in lengths]
    reduced = [call() for call in calls]
    times = [total / n for total, n in zip(alternating(calls, repeats), lengths, strict=True)]
    wrong = [stream_error(problem, n) for problem, n in zip(reduced, lengths, strict=True)]
    return record(
        "decompose",
        f"a column of n = {columns}, m = {TARGETS}, d = {INPUTS}",
        (
            f"streamed, peak memory {peak(columns) / 1e6:.2f} MB",
            f"the same, n = {shortest}, peak memory {peak(shortest) / 1e6:.2f} MB",
        ),
        tuple(times),
        tuple(wrong),
    )


def reduction(columns: int) -> deflation.Regression:
    """The problem of so many columns, which come in batches that are not kept."""
    x, y = _batch()
    return deflation.Regression.from_batches((x, y) for _ in range(columns // BATCH))


def stream_error(problem: deflation.Regression, columns: int) -> float:
    """Relative distance of M from the one of a batch, times the root of how often it came."""
    expected = np.asarray(deflation.Regression.from_batches([_batch()]).target)
    expected = expected * (columns // BATCH) ** 0.5
    return float(np.linalg.norm(problem.target - expected) / np.linalg.norm(expected))


def peak(columns: int) -> int:
    """Most bytes of the host that a reduction held at once, its batch included."""
    tracemalloc.start()
    try:
        reduction(columns)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _batch() -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(0)
    x = g.normal(size=(INPUTS, BATCH))
    return x, g.normal(size=(TARGETS, INPUTS)) @ x + g.normal(size=(TARGETS, BATCH))
