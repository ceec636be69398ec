"""A file is replaced whole or not at all, whatever fails."""

import errno
import os

import pytest

from rankwise.files import replacing


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(OSError) as failed, replacing(path) as part:
        part.write_text("new and cut sh")
        assert part.suffix == ".json" and path.read_text() == "old"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failed.value.filename == str(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["result.json"]


def test_a_block_that_ends_well_replaces(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["result.json"]


def test_the_folder_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "no" / "f") as part:
        part.write_text("x")
