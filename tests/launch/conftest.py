"""What commands in this process leave out: words on slowness, and rendering of most pictures."""

import sys

import pytest
from matplotlib.figure import Figure

from launch.shell import waiting
from rankwise.plots import files

RENDER = Figure.savefig
RENDERED = {}  # the bytes of the first picture of each kind


@pytest.fixture(autouse=True)
def never_slow(monkeypatch):
    """Slowness is the machine's and not theirs."""
    monkeypatch.setattr(waiting, "SLOW", 3600.0)


@pytest.fixture(autouse=True, scope="module")
def rendered_once():
    """All pictures are composed; of those that one line of a command writes under one title the
    first is rendered, which costs a second, and the others are copies of it."""

    def savefig(figure, file, *, format=None, **options):
        frame = sys._getframe(1)
        while frame.f_code.co_filename == files.__file__:
            frame = frame.f_back
        kind = frame.f_code.co_filename, frame.f_lineno, figure.get_suptitle(), format
        if kind in RENDERED:
            file.write_bytes(RENDERED[kind])
        else:
            RENDER(figure, file, format=format, **options)
            RENDERED[kind] = file.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield
