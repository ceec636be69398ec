"""A disk without room: one line, nothing half written, and the same command goes on afterwards."""

import errno
import os
import pathlib

import numpy as np
import pytest
from matplotlib.figure import Figure

import deflation
from finetune.tasks import predictions
from finetune.training import adapter_files, checkpoints, metrics
from rankwise import files
from rankwise.plots import files as figures
from tests.launch.commands import command

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
RUN = ["--method=lora", "--hidden_size=8", "--rank=2", "--steps=4", "--checkpoint_every=2"]


def state():
    problem = deflation.Regression.from_matrix(np.eye(3, dtype=np.float32))
    return deflation.start(problem, rank=2)


WRITERS = {
    "adapter": lambda path: adapter_files.save(path, adapter_files.Adapter({}, {}, {})),
    "result": lambda path: files.write_json(path, {"score": 1}),
    "text": lambda path: files.write_text(path, "a table"),
    "metrics": lambda path: metrics.JsonLines(path, upto=0),
    "figure": lambda path: figures.save(Figure(), path),
    "arrays": lambda path: figures.save_arrays({"x": np.ones(3)}, path),
    "state": lambda path: deflation.save(path.with_suffix(".npz"), state()),
    "predictions": lambda path: predictions._replace(path, lambda file: file.write("0,a\n")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_leaves_what_was_there(name, tmp_path, monkeypatch):
    """The disk is full when the file is flushed, after all of it was written."""
    WRITERS[name](tmp_path / "file")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before and not [name for name in before if "part" in name]

    def refuse(descriptor):
        raise FULL

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises((OSError, ValueError), match="No space left on device"):
        WRITERS[name](tmp_path / "file")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.thorough  # writers above, room below
def test_a_checkpoint_without_room_is_one_line_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert command("train", *RUN, f"--workdir={whole}") == 0
    require, sizes = checkpoints._require_room, []

    def second_fails(folder, size):
        sizes.append(size)
        if len(sizes) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    monkeypatch.setattr(checkpoints, "_require_room", second_fails)
    capsys.readouterr()
    assert command("train", *RUN, f"--workdir={part}") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"train: {part}/checkpoints: No space left on device"
    assert sorted(os.listdir(part)) == ["checkpoints", "config.json", "metrics.jsonl"]
    monkeypatch.setattr(checkpoints, "_require_room", require)
    assert command("train", *RUN, f"--workdir={part}") == 0
    one, two = ((where / "adapter.safetensors").read_bytes() for where in (whole, part))
    assert one == two


def test_room_is_asked_of_the_file_system(tmp_path, monkeypatch):
    checkpoints._require_room(tmp_path / "new", 1000)
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(OSError, match="new") as failed:
        checkpoints._require_room(tmp_path / "new", 1 << 62)
    assert failed.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_file_system_that_is_full(tmp_path, capfd):
    place = tmp_path / "small"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=60k tmpfs {place} 2>/dev/null"):
        pytest.skip("this container may not mount")
    try:
        assert command("train", *RUN, f"--workdir={place}/run") == 2
        lines = capfd.readouterr().err.splitlines()
        assert "No space left on device" in lines[-1]
        assert not [line for line in lines if "Traceback" in line]
        left = [path for path in pathlib.Path(place).rglob("*") if "part" in path.name]
        assert left == []
    finally:
        os.system(f"umount {place}")
