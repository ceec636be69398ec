"""What is said of rows that a run was trained on."""

import json
import types

import pytest

from launch.training.rows import note as note_of


def task(fingerprint):
    return types.SimpleNamespace(split=lambda name: types.SimpleNamespace(fingerprint=fingerprint))


@pytest.mark.parametrize("whole_file", [False, True])
def test_training_rows_are_found_by_their_file_or_their_content(tmp_path, whole_file):
    (tmp_path / "data").mkdir()
    for name in ("train.csv", "test.csv"):
        (tmp_path / "data" / name).write_text("text,label\n")
    source = tmp_path / "data" / "train.csv" if whole_file else tmp_path / "data"
    (tmp_path / "config.json").write_text(json.dumps({"data_dir": str(source)}))
    known = {"train": "a", "heldout": "b"}

    def note(fingerprint, name):
        data = str(tmp_path / "data" / name)
        return note_of(task(fingerprint), "train", known, str(tmp_path), data)

    assert "trained on are included" in note("c", "train.csv")  # the file, less what is held out
    assert "trained on are included" in note("a", "copy.csv")  # the same rows elsewhere
    assert note("c", "test.csv") == ""


def test_other_rows_of_a_split():
    assert note_of(task("a"), "test", {"test": "a"}, "run", None) == ""
    assert note_of(task("a"), "test", {}, None, "data") == ""
    assert "other rows" in note_of(task("b"), "test", {"test": "a"}, "run", None)
