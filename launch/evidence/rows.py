"""Rows of the table of claims, from this process or from several that share them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence

import jax

from linear_theory import Claim, Row, check, registry
from rankwise.compiling import flags

EACH = 8  # claims for which one more process is worth its start


def processes(claims: int) -> int:
    """How many share so many claims: one per core of a CPU, one where there is an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    own = getattr(os, "sched_getaffinity", None)  # of Linux
    cores = len(own(0)) if own else os.cpu_count() or 1
    return max(1, min(cores, claims // EACH))


def checked(claims: Sequence[Claim], seed: int, trials: int, jobs: int) -> Iterator[Row]:
    """The row of every claim, in their order; to rounding the same for any number of processes.

    Raises:
      RuntimeError: a claim could not be checked: a defect of its own, not a mistake of the user's.
    """
    with contextlib.closing(_rows([claim.name for claim in claims], seed, trials, jobs)) as rows:
        for claim in claims:
            try:
                yield next(rows) if jobs > 1 else check(claim, jax.random.key(seed), trials)
            except Exception as error:
                raise RuntimeError(f"claim {claim.name} could not be checked") from error


def _rows(names: Sequence[str], seed: int, trials: int, jobs: int) -> Iterator[Row]:
    """Of claims by their names, as functions do not travel between processes."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process that runs jax may hang
    before = set(multiprocessing.active_children())
    with (
        _environment("XLA_FLAGS", flags()),
        concurrent.futures.ProcessPoolExecutor(jobs, spawn, _begin, (jax.config.values,)) as pool,
    ):
        try:
            for future in [pool.submit(_row, name, seed, trials) for name in names]:
                yield future.result()
        except BaseException:  # Ctrl-C too: what is under way would go on for seconds
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
            raise


def _begin(settings: dict) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends it
    for name, value in settings.items():
        if jax.config.values.get(name) != value:
            jax.config.update(name, value)


def _row(name: str, seed: int, trials: int) -> Row:
    return check(registry()[name], jax.random.key(seed), trials)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
