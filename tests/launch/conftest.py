"""What commands in this process leave out: words on slowness, and rendering of most pictures."""

import sys

import pytest

from launch.shell import waiting


@pytest.fixture(autouse=True)
def never_slow(monkeypatch):
    """Slowness is the machine's and not theirs."""
    monkeypatch.setattr(waiting, "SLOW", 3600.0)


@pytest.fixture(autouse=True)
def unrendered(monkeypatch):
    """Pictures of training runs are composed and not rendered, which costs a second a run.

    Those of runs that fixtures of modules make are rendered: they are made before this one. The
    command is not imported for it, as most tests are of others.
    """
    if command := sys.modules.get("launch.training.run"):
        monkeypatch.setattr(command, "save_figure", lambda figure, path: None)
