"""Commands in this process say nothing of slowness, which is the machine's and not theirs."""

import pytest

from launch.shell import waiting


@pytest.fixture(autouse=True)
def never_slow(monkeypatch):
    monkeypatch.setattr(waiting, "SLOW", 3600.0)
