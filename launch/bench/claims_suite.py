"""What checking the claims costs: one row per claim, its warm seconds beside its first call.

A check of a claim draws its instances and measures both sides, then the same for its control
(`linear_theory.check`). The rows compare a claim with itself:

    seconds_ours        median of warm checks: every program of the claim is compiled
    seconds_competitor  the first check in this process, tracing and compilation included; a
                        program that several claims share is charged to the first of them
    error_ours, error_competitor
                        points that violate the claim, in the last warm check and in the first
    compile_seconds     of the first check: lowering and compilation as JAX reports them. What the
                        compilation cache holds is only read; --jax_cache_dir= is without one

The last row adds them up.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import jax

from launch.bench.rows import record
from launch.bench.timing import compiling
from launch.shell import waiting
from launch.shell.tables import table
from linear_theory import Claim, check

TRIALS = {"quick": 8, "full": 256}
"""Instances per claim; the second is the default of launch.check."""
SLOWEST = 5


def run(claims: Sequence[Claim], trials: int, repeats: int) -> tuple[list[dict[str, Any]], str]:
    """The rows, and a note with the slowest claims."""
    rows = [
        _row(claim, trials, repeats) for claim in waiting.progress(claims, len(claims), "claims")
    ]
    slowest = sorted(rows, key=lambda row: -row["seconds_ours"])[:SLOWEST]
    keys = ("case", "seconds_ours", "seconds_competitor", "compile_seconds")
    lines = [[row[key] for key in keys] for row in slowest]
    note = f"{trials} trials, jax {jax.__version__}; the slowest {len(lines)} when warm\n\n"
    header = ("claim", "warm", "first", "compiling")
    return [*rows, _total(rows)], note + table(header, lines)


def _row(claim: Claim, trials: int, repeats: int) -> dict[str, Any]:
    key = jax.random.key(0)
    with compiling() as spent:
        first = check(claim, key, trials)
    warm = [check(claim, key, trials) for _ in range(repeats)]
    seconds = statistics.median(row.seconds for row in warm)
    violations = float(warm[-1].violations), float(first.violations)
    return _record(claim.name, (seconds, first.seconds), violations, sum(spent))


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def sums(*keys):
        return tuple(sum(row[key] for row in rows) for key in keys)

    seconds = sums("seconds_ours", "seconds_competitor")
    violations = sums("error_ours", "error_competitor")
    return _record(f"all {len(rows)} claims", seconds, violations, *sums("compile_seconds"))


def _record(case, seconds, violations, compiled) -> dict[str, Any]:
    names = "warm", "first call"
    return record("claims", case, names, seconds, violations, compile_seconds=compiled)
