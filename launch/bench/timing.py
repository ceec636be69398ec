"""Timing side by side: functions take turns, so that a disturbance meets all of them; compiling."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax

from launch.shell import waiting

# Not tracing, whose events contain each other.
COMPILE_EVENTS = ("jaxpr_to_mlir_module_duration", "backend_compile_duration")


def alternating(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each, called in turn; every function has to wait for its own result."""
    shown = waiting.progress(range(repeats), repeats, "repeats")
    return [statistics.median(times) for times in in_turn(functions, shown)]


def in_turn(functions: Sequence[Callable[[], object]], turns: Iterable) -> list[list[float]]:
    """Seconds of every call of each function, one call per turn."""
    measured: list[list[float]] = [[] for _ in functions]
    for _ in turns:
        for function, times in zip(functions, measured, strict=True):
            times.append(seconds(function))
    return measured


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@contextlib.contextmanager
def compiling() -> Iterator[list[float]]:
    """Seconds that JAX spends on lowering and compiling while the context is open, item by item.

    Example:
      >>> import jax.numpy as jnp
      >>> with compiling() as spent:
      ...     y = jax.jit(lambda x: x + 1)(jnp.ones(3))
      >>> sum(spent) > 0
      True
    """
    spent: list[float] = []

    def on_event(event: str, seconds: float, **_) -> None:
        if event.endswith(COMPILE_EVENTS):
            spent.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(on_event)
    try:
        yield spent
    finally:
        jax.monitoring.unregister_event_duration_listener(on_event)
