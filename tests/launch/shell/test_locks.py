"""One writer per folder, by a lock that ends with its process."""

import os
import signal
import subprocess
import sys

import pytest

from launch.shell import locks
from launch.shell.locks import LOCK, one_writer

HOLDER = """
import sys, time
from launch.shell.locks import one_writer
with one_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_writer_is_told_who_is_there(tmp_path):
    with (
        one_writer(tmp_path),
        pytest.raises(OSError, match=rf"--workdir=.* is in use .*process {os.getpid()} on "),
        one_writer(tmp_path),
    ):
        pass
    with one_writer(tmp_path):  # neither of them has left anything
        pass
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_no_lock(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(OSError, match=f"process {child.pid} on"), one_writer(tmp_path):
        pass
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert os.listdir(tmp_path) == [LOCK]
    with one_writer(tmp_path):
        pass


def test_a_folder_that_nothing_was_written_to_is_taken_away(tmp_path):
    with pytest.raises(ValueError, match="refused"), one_writer(tmp_path / "a" / "b"):
        raise ValueError("refused")
    assert os.listdir(tmp_path) == []
    with one_writer(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert (tmp_path / "a" / "b" / "file").exists()


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_a_file_where_a_folder_should_be(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    with (
        pytest.raises(OSError, match=r"--report=.*file.* is, or lies in, a file"),
        one_writer(tmp_path / place, "--report"),
    ):
        pass
    assert (tmp_path / "file").read_text() == "kept"


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", "somewhere")

    monkeypatch.setattr(locks.os, "open", refuse)
    with (
        pytest.raises(OSError, match=r"--workdir=.*new cannot be written: Permission denied"),
        one_writer(tmp_path / "new"),
    ):
        pass
    assert os.listdir(tmp_path) == []
