"""Several processes as one program, by JAX's own runtime."""

from __future__ import annotations

import os

import jax

ALLOWED = "'auto' or HOST:PORT/COUNT/NUMBER"
# A CPU program that waits for another process holds a thread. XLA starts as many threads as there
# are cores or devices; on two cores both could wait, with none left for what the other waits for.
CPU_THREADS = 16


def join(where: str | None) -> None:
    """Waits until all processes are there; to be called before any device is used.

    Args:
      where: None for a single process, "auto" where JAX finds the cluster itself (Slurm, TPU, MPI),
        else "HOST:PORT/COUNT/NUMBER": process 0 listens there, NUMBER counts from 0.

    Raises:
      ValueError: another form, or a cluster that JAX does not find.
    """
    if where is None:
        return
    os.environ.setdefault("NPROC", str(max(CPU_THREADS, os.cpu_count() or 1)))  # read by XLA
    address, *numbers = where.split("/")
    try:
        if where == "auto":
            jax.distributed.initialize()
        elif len(numbers) == 2 and all(map(str.isdecimal, numbers)) and ":" in address:
            jax.distributed.initialize(address, int(numbers[0]), int(numbers[1]))
        else:
            raise ValueError(f"distributed is {where!r}; allowed are {ALLOWED}")
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"distributed is {where!r}, but: {reason}") from None


def first() -> bool:
    """Whether this is the process that prints and writes the files."""
    return jax.process_index() == 0
