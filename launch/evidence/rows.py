"""Rows of the table of claims, from this process or from several that share them."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from linear_theory import Claim, Row, check, registry
from rankwise.compiling import collect_rarely, flags

EACH = 8  # claims for which one more process is worth its start
# Of XLA's optimisations. Recorded runs, which most claims on parallel deflation share, take a third
# of the time that they take at 0, and as much as with all optimisations; compiling takes half of
# the time that it takes with all.
LEVEL = 1


def processes(claims: int) -> int:
    """How many share so many claims: one per core of a CPU, one where there is an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    own = getattr(os, "sched_getaffinity", None)  # of Linux
    cores = len(own(0)) if own else os.cpu_count() or 1
    return max(1, min(cores, claims // EACH))


def checked(claims: Sequence[Claim], seed: int, trials: int, jobs: int) -> Iterator[Row]:
    """The row of every claim as soon as it is there: in the order of the claims from one process;
    from several in any, each to rounding the same.

    Raises:
      RuntimeError: a claim could not be checked: a defect of its own, not a mistake of the user's.
    """
    names = [claim.name for claim in claims]
    rows = _shared(names, seed, trials, jobs) if jobs > 1 else _alone(claims, seed, trials)
    with contextlib.closing(rows):
        yield from rows


def _alone(claims: Sequence[Claim], seed: int, trials: int) -> Iterator[Row]:
    for claim in claims:
        with _named(claim.name):
            row = check(claim, jax.random.key(seed), trials)
        yield row


def _shared(names: Sequence[str], seed: int, trials: int, jobs: int) -> Iterator[Row]:
    """Of claims by their names, as functions do not travel between processes."""
    before = set(multiprocessing.active_children())
    turns = Turns(names, jobs)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment({"XLA_FLAGS": flags(LEVEL)} | _one_thread()))
        pools = [stack.enter_context(_process()) for _ in range(jobs)]
        under_way = {}

        def begin(worker: int) -> None:
            if (name := turns.next(worker)) is not None:
                under_way[pools[worker].submit(_row, name, seed, trials)] = worker, name

        try:
            for worker in range(jobs):
                begin(worker)
            while under_way:
                ready, _ = concurrent.futures.wait(under_way, return_when="FIRST_COMPLETED")
                for future in ready:
                    worker, name = under_way.pop(future)
                    begin(worker)
                    with _named(name):
                        row = future.result()
                    yield row
        except BaseException:  # Ctrl-C too: what is under way would go on for seconds
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
            raise


class Turns:
    """Which claim a process checks next.

    Neighbours share compiled programs. Two processes begin at the two ends of a stretch and meet
    where they meet, so that hardly a program is compiled twice and both end at the same time.
    """

    def __init__(self, names: Sequence[str], jobs: int):
        stretches = np.array_split(np.array(names, object), -(-jobs // 2))
        self._stretches = [collections.deque(stretch) for stretch in stretches]

    def next(self, worker: int) -> str | None:
        """A name that was not given out yet, None when all were."""
        stretch = self._stretches[worker // 2] or max(self._stretches, key=len)
        if not stretch:
            return None
        return stretch.pop() if worker % 2 else stretch.popleft()


def _one_thread() -> dict[str, str]:
    """As there is a process per core, threads of theirs only wait for each other: XLA's, and those
    of numpy's libraries. What the user has set is left."""
    names = "NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
    return {name: os.environ.get(name, "1") for name in names}


def _process() -> concurrent.futures.Executor:
    spawn = multiprocessing.get_context("spawn")  # a fork of a process that runs jax may hang
    return concurrent.futures.ProcessPoolExecutor(1, spawn, _begin, (jax.config.values,))


def _begin(settings: dict) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends it
    for name, value in settings.items():
        if jax.config.values.get(name) != value:
            jax.config.update(name, value)
    collect_rarely()


def _row(name: str, seed: int, trials: int) -> Row:
    return check(registry()[name], jax.random.key(seed), trials)


@contextlib.contextmanager
def _named(claim: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise RuntimeError(f"claim {claim} could not be checked") from error


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
