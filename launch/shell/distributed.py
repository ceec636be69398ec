"""Several processes as one program, by JAX's own runtime.

On CPUs give every process one device: exchanges between processes hold threads while they wait, and
two of them along two axes have been seen to wait for each other for ever on two cores.

A process that has joined is the child of one that has not (supervise.py). What it prints itself is
shown; what the runtime prints, and every traceback, goes to the log that the parent has opened.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from launch.shell.ending import exit_now

ALLOWED = "'auto', HOST:PORT/COUNT/NUMBER or local/COUNT"
HEARTBEAT = 30  # seconds: a machine that is silent for longer is given up by the others
PARENT = "RANKWISE_PARENT"  # process id
SHOWN = "RANKWISE_OUTPUT"  # two file descriptors, of the process that shows what it prints


class Place(NamedTuple):
    """Where the processes of a run meet; `address` is None where JAX finds the cluster itself.

    With `number` None all `count` processes are on this machine, and still to be started.
    """

    address: str | None
    count: int | None = None
    number: int | None = None


def parse(where: str) -> Place:
    """The place that the flag --distributed names.

    Raises:
      ValueError: another form.

    Example:
      >>> parse("node1:1234/8/3")
      Place(address='node1:1234', count=8, number=3)
    """
    address, *numbers = where.split("/")
    if where == "auto":
        return Place(None)
    if all(map(str.isdecimal, numbers)):
        count, *number = map(int, numbers or ["0"])
        if address == "local" and not number and count:
            return Place("localhost", count)
        if ":" in address and len(number) == 1 and number[0] < count:
            return Place(address, count, number[0])
    raise ValueError(f"distributed is {where!r}; allowed are {ALLOWED}")


def supervised() -> bool:
    """Whether a parent watches this process."""
    return os.environ.get(PARENT) == str(os.getppid())


def join(where: str | None) -> None:
    """Waits until all processes are there; to be called before any device is used.

    Args:
      where: None for a single process, "auto" where JAX finds the cluster itself (Slurm, TPU, MPI),
        else "HOST:PORT/COUNT/NUMBER": process 0 listens there, NUMBER counts from 0. Processes that
        meet at localhost share its accelerators, one each.

    Raises:
      ValueError: another form, or a cluster that JAX does not find.
    """
    if where is None:
        return
    place = parse(where)
    _follow_parent()
    alone = place.address is not None and place.address.startswith("localhost:")
    try:
        jax.distributed.initialize(
            place.address,
            place.count,
            place.number,
            local_device_ids=place.number if alone else None,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"distributed is {where!r}, but: {reason}") from None


def is_main_process() -> bool:
    """Whether this is the process that prints and writes the files."""
    return jax.process_index() == 0


def require_same(name: str, reached: int) -> None:
    """Raises ValueError unless all processes have reached the same round: each reads `name`."""
    if jax.process_count() > 1:
        everyone = multihost_utils.process_allgather(np.asarray(reached)).tolist()
        if len(set(everyone)) > 1:
            raise ValueError(f"{name} holds rounds {everyone}; allowed is what all processes see")


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def leave(status: int) -> None:
    """Ends a process that has failed, at once if others run with it.

    They wait for this one in an exchange, and a polite end would wait for them.
    """
    if jax.distributed.is_initialized():
        exit_now(status)


def _follow_parent() -> None:
    if not supervised():
        return
    if SHOWN in os.environ:
        out, err = os.environ[SHOWN].split(",")
        sys.stdout, sys.stderr = os.fdopen(int(out), "w"), os.fdopen(int(err), "w", buffering=1)
    sys.excepthook = _log_and_leave
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _log_and_leave(kind, error, trace) -> None:
    traceback.print_exception(kind, error, trace, file=sys.__stderr__)
    # Once more at the end, where the parent looks: JAX ends tracebacks with advice.
    reason = (str(error).splitlines() or [""])[0]
    print(f"{kind.__name__}: {reason}", file=sys.__stderr__, flush=True)
    leave(1)


def _end_with_parent() -> None:
    while supervised():
        time.sleep(1)
    os._exit(1)
