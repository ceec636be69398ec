"""A folder appears whole or not at all."""

import pytest

from rankwise.folders import new_folder


def test_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "above" / "target"
    with new_folder(target) as part:
        (part / "file").write_text("text")
        assert not target.exists()
        assert part.parent == target.parent
    assert (target / "file").read_text() == "text"
    assert [p.name for p in target.parent.iterdir()] == ["target"]


def test_nothing_is_left_after_an_exception(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / "target") as part:
        (part / "file").write_text("text")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_refused(tmp_path):
    for name in ("empty", "link"):
        path = tmp_path / name
        path.mkdir() if name == "empty" else path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(ValueError, match=f"{name} exists"), new_folder(path):
            pass
    assert list((tmp_path / "empty").iterdir()) == []


def test_folder_that_appears_meanwhile_is_kept(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(ValueError, match="exists"), new_folder(target):
        target.mkdir()
        (target / "file").write_text("theirs")
    assert (target / "file").read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"), new_folder(tmp_path / "file" / "x"):
        pass
