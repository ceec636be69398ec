"""Several processes as one program, by JAX's own runtime.

On CPUs give every process one device: exchanges between processes hold threads while they wait, and
two of them along two axes have been seen to wait for each other for ever on two cores.
"""

from __future__ import annotations

import jax

ALLOWED = "'auto' or HOST:PORT/COUNT/NUMBER"


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
