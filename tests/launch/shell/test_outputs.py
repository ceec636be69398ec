"""Files of a run: valid JSON, whole or not there, and nothing lost by a kill."""

import dataclasses
import enum
import json
import os
import pathlib
import stat
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from launch.shell.outputs import Workdir
from rankwise.files import require_writable, to_json, write_json


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 2


class Pair(NamedTuple):
    left: float
    right: np.ndarray


@dataclasses.dataclass(frozen=True)
class Config:
    path: pathlib.Path
    pair: Pair | None = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        ("é", "é"),
        (0.5, 0.5),
        (float("nan"), None),
        (-float("inf"), None),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([[1.0, np.inf]]), [[1.0, None]]),
        (jnp.arange(3), [0, 1, 2]),
        (jnp.float32(0.25), 0.25),
        (Colour.RED, "RED"),
        (Level.HIGH, "HIGH"),
        (Pair(1.0, np.zeros(1)), {"left": 1.0, "right": [0.0]}),
        (Config(pathlib.Path("a/b")), {"path": "a/b", "pair": None}),
        ({1: (2, [3])}, {"1": [2, [3]]}),
    ],
)
def test_to_json(value, expected):
    converted = to_json(value)
    assert converted == expected and type(converted) is type(expected)
    json.dumps(converted, allow_nan=False)


@pytest.mark.parametrize("value", [object(), 1j, {1, 2}, Colour])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(TypeError, match="has no JSON form"):
        to_json(value)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.json"
    write_json(path, [1, float("nan")])
    assert json.loads(path.read_text()) == [1, None]
    with pytest.raises(TypeError):
        write_json(path, [object()])
    assert json.loads(path.read_text()) == [1, None]
    write_json(path, [2])
    assert json.loads(path.read_text()) == [2]
    assert os.listdir(tmp_path) == ["table.json"]


def test_a_failed_move_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    write_json(path, [1])

    def refuse(self, target):
        raise OSError("no space left")

    monkeypatch.setattr(pathlib.Path, "replace", refuse)
    with pytest.raises(OSError, match="no space left"):
        write_json(path, [2])
    assert json.loads(path.read_text()) == [1]
    assert os.listdir(tmp_path) == ["table.json"]


def test_files_have_the_permissions_of_the_user_and_links_stay(tmp_path):
    path, link = tmp_path / "table.json", tmp_path / "link.json"
    link.symlink_to(path)
    old = os.umask(0o022)
    try:
        write_json(link, [1])
    finally:
        os.umask(old)
    assert link.is_symlink() and json.loads(path.read_text()) == [1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_none_is_a_file_nobody_asked_for():
    require_writable(None)
    write_json(None, object())


def test_devices_are_written_to():
    require_writable(os.devnull)
    write_json(os.devnull, [1])
    assert not pathlib.Path(os.devnull).is_file()


def test_an_unwritable_place_is_found_early(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        require_writable(tmp_path / "missing" / "table.json")
    with pytest.raises(IsADirectoryError, match="is a folder; a file name is needed"):
        require_writable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        require_writable(tmp_path / "file" / "table.json")


def test_a_folder_without_permission_is_found_early(tmp_path, monkeypatch):
    # By a refusing `open`: the permissions themselves do not bind a test that runs as root.
    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(OSError, match=r"cannot write .*table\.json: Permission denied"):
        require_writable(tmp_path / "table.json")


def test_looking_does_not_touch_what_is_there(tmp_path):
    path = tmp_path / "table.json"
    path.write_text("old")
    require_writable(path)
    require_writable(tmp_path / "new.json")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.json"]


def test_a_workdir_fills_up_as_the_run_goes(tmp_path):
    folder = tmp_path / "a" / "b"
    run = Workdir(folder, Config(pathlib.Path("data")))
    assert json.loads((folder / "config.json").read_text()) == {"path": "data", "pair": None}
    assert (folder / "metrics.jsonl").read_text() == ""
    run.metric({"round": 1, "error": float("inf")})
    # Already on its way: nothing waits for the end of the run.
    assert (folder / "metrics.jsonl").read_text() == '{"round": 1, "error": null}\n'
    run.metric({"round": 2, "error": 0.5})
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert not (folder / "result.json").exists()
    run.result({"error": 0.5})
    assert json.loads((folder / "result.json").read_text()) == {"error": 0.5}


def test_a_new_run_in_an_old_workdir_starts_over(tmp_path):
    run = Workdir(tmp_path, {})
    run.metric({"round": 1})
    run.result({})
    Workdir(tmp_path, {})
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert not (tmp_path / "result.json").exists()


def test_a_resumed_run_keeps_whole_lines(tmp_path):
    Workdir(tmp_path, {}).metric({"round": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"round": 2, "err')
    Workdir(tmp_path, {}, upto=1).metric({"round": 2})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"round": 1}, {"round": 2}]


def test_no_workdir_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Workdir(None, {})
    run.metric({})
    run.result({})
    assert os.listdir(tmp_path) == []


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        Workdir(tmp_path / "file", {})
