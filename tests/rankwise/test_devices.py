"""Meshes from text: sizes by name, and one line for what is no mesh."""

import pytest

from rankwise import devices


def test_sizes_and_order():
    sizes = devices.parse(["rows:2", "worker:3"], ("worker", "rows"))
    mesh = devices.make(sizes)
    assert dict(mesh.shape) == sizes == {"rows": 2, "worker": 3}
    assert mesh.devices.shape == (2, 3)


@pytest.mark.parametrize("entries", [["rows:0"], ["rows"], ["rows:-1"], ["x:1"], ["rows:1"] * 2])
def test_mistakes(entries):
    with pytest.raises(ValueError, match="allowed are worker:N and rows:N, each once"):
        devices.parse(entries, ("worker", "rows"))


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match="devices of mesh rows:99 is 99; allowed are integers"):
        devices.make({"rows": 99})
