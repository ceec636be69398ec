"""SIGTERM and Ctrl-C end a command, wherever in the program they arrive."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn


class Terminated(BaseException):
    """SIGTERM, as batch systems send it before they kill."""


SIGNALS = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
SOON = 0.05
"""Seconds until a signal that was dropped is sent again: not into the callback that dropped it."""


@contextlib.contextmanager
def endable() -> Iterator[None]:
    """SIGTERM as an exception, so that locks and unfinished files are taken away.

    What is raised inside a finaliser or a callback of the garbage collector, and JAX has one of
    these, Python prints and drops: the signal would be lost. It is sent again until it is heard.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    timers: list[threading.Timer] = []
    printed = sys.unraisablehook

    def dropped(unraisable: Any) -> None:
        if unraisable.exc_type not in SIGNALS:
            printed(unraisable)
            return
        again = threading.Timer(SOON, os.kill, (os.getpid(), SIGNALS[unraisable.exc_type]))
        again.daemon = True
        timers.append(again)
        again.start()

    before = signal.signal(signal.SIGTERM, _raise)
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = printed
        for timer in timers:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)


def exit_now(status: int) -> NoReturn:
    """Ends the process without the ordinary way out, on which nothing is left to do.

    XLA may be in the middle of a computation, whose threads that way takes the ground from: it has
    ended in a segmentation fault in place of the status. Other processes may wait for this one.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)


def _raise(number: int, frame: Any) -> NoReturn:
    del number, frame
    raise Terminated
