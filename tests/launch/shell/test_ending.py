"""A signal ends a command also where Python drops what is raised."""

import gc
import signal
import sys
import time

import pytest

from launch.shell import app


class Finalised:
    """Gets a signal while it is taken away."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)
        time.sleep(0)  # where the handler runs at the latest


def finalised(number):
    Finalised(number)


def collected(number):
    def callback(phase, info):
        gc.callbacks.remove(callback)
        signal.raise_signal(number)
        time.sleep(0)

    gc.callbacks.append(callback)
    gc.collect()


@pytest.mark.parametrize("where", [finalised, collected])
@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGTERM, 143, "ended by SIGTERM"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_dropped_signal_is_heard(where, number, status, said, capsys):
    def main():
        where(number)
        time.sleep(60)

    hook, started = sys.unraisablehook, time.monotonic()
    assert app._guarded("command", main) == status
    assert time.monotonic() - started < 10 and sys.unraisablehook is hook
    assert capsys.readouterr().err == f"command: {said}\n"


def test_other_errors_of_finalisers_are_printed_as_ever(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))

    class Broken:
        def __del__(self):
            raise RuntimeError

    assert app._guarded("command", lambda: Broken() and None) == 0 and seen == [RuntimeError]


def test_a_signal_that_is_sent_again_does_not_outlive_the_command():
    before = signal.getsignal(signal.SIGTERM)
    assert app._guarded("command", lambda: finalised(signal.SIGTERM)) == 0
    time.sleep(0.2)  # it would end the process here
    assert signal.getsignal(signal.SIGTERM) is before
