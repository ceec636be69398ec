"""A signal ends a command also where Python drops what is raised."""

import gc
import os
import signal
import subprocess
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


CRASHES = """
import atexit, os, signal, sys, time
from launch.evidence.drawing import FiguresConfig
from launch.shell import app

def main(config):
    os.kill(os.getpid(), int(os.environ["NUMBER"]))
    time.sleep(60)

atexit.register(os.abort)  # as XLA's threads may, when what they compute with is taken away
print("said", end="")
app.run(main, FiguresConfig)
"""


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGTERM, 143, "-c: ended by SIGTERM"), (signal.SIGINT, 130, "-c: interrupted")],
)
def test_what_breaks_on_the_way_out_does_not_change_the_status(number, status, said):
    done = subprocess.run(
        [sys.executable, "-c", CRASHES],
        **{"env": {**os.environ, "NUMBER": str(int(number))}, "timeout": 60},
        **{"capture_output": True, "text": True},
    )
    assert (done.returncode, done.stderr, done.stdout) == (status, f"{said}\n", "said")


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
