"""What a command shows on stderr while one waits: how far it is, and what takes long."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

Item = TypeVar("Item")

LOG_LINES = 10
PAUSE = 1.0  # seconds between lines
SLOW = 3.0  # seconds without a word


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    """Says what the block does if it is not done within seconds; silent where it is."""

    def say() -> None:
        if sys.stderr is not None:
            print(f"{text} ...", file=sys.stderr, flush=True)

    timer = threading.Timer(SLOW, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def progress(iterable: Iterable[Item], total: int | None, label: str) -> Iterator[Item]:
    """Passes `iterable` on and shows on stderr how far it is.

    A bar on a terminal; elsewhere (a file, a pipe, a batch system) at most about ten plain lines,
    and between the first and the last at most one a second.
    Nothing at all when `total` is 0 or there is no stderr.

    Args:
      iterable: the items.
      total: how many there are, None when that is not known.
      label: what is counted.
    """
    if total == 0 or sys.stderr is None:
        yield from iterable
    elif sys.stderr.isatty():
        yield from tqdm.tqdm(iterable, total=total, desc=label, file=sys.stderr, leave=False)
    else:
        yield from _log_lines(iterable, total, label)


def _log_lines(iterable, total, label):
    started = time.monotonic()
    due, said = 1, float("-inf")
    text = f"{label}: the first of {total}" if total else f"{label}: the first"
    with contextlib.ExitStack() as first:
        first.enter_context(stage(text))
        for done, item in enumerate(iterable, start=1):
            yield item
            first.close()
            # The consumer has finished with the item when it asks for the next one.
            now = time.monotonic()
            if done == total or (done >= due and now - said >= PAUSE):
                of = f"/{total}" if total else ""
                print(f"{label}: {done}{of} in {now - started:.0f} s", file=sys.stderr, flush=True)
                said = now
                # Tenths of what is known, powers of two of what is not.
                due = done + -(-total // LOG_LINES) if total else 2 * done
