"""What all tests of the shell need."""

import signal

import pytest


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C is heard: it is not by what a shell script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
