"""Whether a compiled program finds room, before it runs and the system kills it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import jax

SYSTEM = pathlib.Path("/proc/meminfo")
GROUP = pathlib.Path("/sys/fs/cgroup")


def free(device: jax.Device) -> int | None:
    """Bytes that a program may still take on a device; None where that is not known.

    On a host, what Linux can give without killing a process, swap included, and what a container
    leaves of its own limit.
    """
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        known = {"bytes_limit", "bytes_in_use"} <= stats.keys()
        return stats["bytes_limit"] - stats["bytes_in_use"] if known else None
    limits = []
    if SYSTEM.exists():
        lines = dict(line.split(":") for line in SYSTEM.read_text().splitlines())
        kibibytes = [int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree")]
        limits.append(1024 * sum(kibibytes))
    highest, now = GROUP / "memory.max", GROUP / "memory.current"
    if highest.exists() and now.exists() and highest.read_text().strip() != "max":
        limits.append(int(highest.read_text()) - int(now.read_text()))
    return min(limits, default=None)


def guarded(program: Callable, flag: str, remedy: str, batch: int = -1) -> Callable:
    """A compiled function that is refused where its intermediate values find no room.

    Args:
      program: of `jax.jit`. Where its batch has new shapes it is compiled and looked at; the other
        arguments keep theirs, and to walk through them costs every step.
      flag: what the size follows from, as "--batch_size=32".
      remedy: what makes it smaller.
      batch: place of the batch among the arguments, by default the last one.

    Raises:
      ValueError: (by the function) not enough memory is free.

    Example:
      >>> import jax.numpy as jnp
      >>> guarded(jax.jit(jnp.sin), "--x=0", "leave it out")(jnp.zeros(1))
      Array([0.], dtype=float32)
    """
    known = set()

    def checked(*arguments):
        form = tuple(leaf.shape for leaf in jax.tree.leaves(arguments[batch]))
        if form not in known:
            known.add(form)
            leaves = jax.tree.leaves(arguments)
            _require_room(program.lower(*arguments).compile(), leaves, flag, remedy)
        return program(*arguments)

    checked.lower = program.lower
    return checked


def _require_room(compiled, leaves, flag: str, remedy: str) -> None:
    analysis = compiled.memory_analysis()
    devices = {d for leaf in leaves if isinstance(leaf, jax.Array) for d in leaf.devices()}
    mine = [d for d in devices if d.process_index == jax.process_index()]
    if analysis is None or not mine:
        return
    # The devices of a host share its memory.
    shared = len(mine) if mine[0].platform == "cpu" else 1
    needed = shared * analysis.temp_size_in_bytes
    there = min((room for room in map(free, mine) if room is not None), default=needed)
    if needed > there:
        raise ValueError(
            f"{flag} needs {needed / 1e9:.1f} GB beside what is loaded; {there / 1e9:.1f} GB are "
            f"free: {remedy}"
        )
