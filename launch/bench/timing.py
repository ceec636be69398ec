"""Timing side by side: functions take turns, so that a disturbance meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence

from launch.shell import app


def alternating(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each, called in turn; every function has to wait for its own result."""
    shown = app.progress(range(repeats), repeats, "repeats")
    return [statistics.median(times) for times in in_turn(functions, shown)]


def in_turn(functions: Sequence[Callable[[], object]], turns: Iterable) -> list[list[float]]:
    """Seconds of every call of each function, one call per turn."""
    found: list[list[float]] = [[] for _ in functions]
    for _ in turns:
        for function, times in zip(functions, found, strict=True):
            times.append(seconds(function))
    return found


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
