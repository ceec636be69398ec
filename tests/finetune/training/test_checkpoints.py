"""What is saved comes back; what does not belong here is refused, with nothing changed on disk."""

import shutil
import types

import pytest

from finetune.methods import MethodConfig
from finetune.training import checkpoints
from finetune.training.checkpoints import Checkpoints
from tests.finetune.training import small

IDENTITY = {"configuration": {"rank": 2, "seed": 0}, "base model": "abc"}


@pytest.fixture(scope="module")
def run():
    return small.Run(MethodConfig("adapad", rank=2))


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A folder with the checkpoints of steps 1 and 2 of three, and the states."""
    folder = tmp_path_factory.mktemp("made") / "c"
    states = run.states(3)
    saved = Checkpoints(folder, IDENTITY)
    for step in (0, 1, 2):
        saved.save(step, states[step], {"best": 0.5})
    saved.close()
    return folder, states


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "c")
    return tmp_path / "c"


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(folder, run, text, identity=IDENTITY):
    before = files(folder)
    with pytest.raises(ValueError, match=text) as error:
        Checkpoints(folder, identity).restore(run.first)
    assert "\n" not in str(error.value)
    assert files(folder) == before


def test_the_latest_comes_back_bitwise(made, run):
    folder, states = made
    restored = Checkpoints(folder, IDENTITY).restore(run.first)
    assert small.same(restored.state, states[2]) and restored.extra == {"best": 0.5}
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"], "retention is bounded"


def test_without_a_folder_there_is_none(run, tmp_path):
    assert Checkpoints(tmp_path / "c", IDENTITY).restore(run.first) is None
    assert not (tmp_path / "c").exists()


def test_an_unfinished_one_is_passed_over(folder, run):
    (folder / "3.orbax-checkpoint-tmp").mkdir()
    saved = Checkpoints(folder, IDENTITY)
    restored = saved.restore(run.first)
    assert int(restored.state.step) == 2
    saved.save(4, restored.state, {})
    saved.close()
    assert sorted(p.name for p in folder.iterdir()) == ["2", "4"]


def test_a_truncated_file_is_refused(folder, run):
    largest = max((folder / "2").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    largest.write_bytes(largest.read_bytes()[:-20])
    refused(folder, run, "2 is damaged")


def test_a_missing_file_is_refused(folder, run):
    shutil.rmtree(folder / "2" / "state")
    refused(folder, run, "2 is damaged or no checkpoint of this program")


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        ({**IDENTITY, "base model": "xyz"}, "a run with base model 'abc'; allowed here is 'xyz'"),
        ({**IDENTITY, "configuration": {"rank": 3, "seed": 0}}, "rank 2; allowed here is 3"),
        ({**IDENTITY, "data": 1}, "data None; allowed here is 1"),
    ],
)
def test_that_of_another_run_is_refused(folder, run, identity, text):
    refused(folder, run, text, identity)


def test_an_older_one_may_lack_what_it_could_not_know(folder, run):
    rows = {"rows of split 'train'": "ab"}
    saved = Checkpoints(folder, {**IDENTITY, **rows}, unless_older=rows)
    restored = saved.restore(run.first)
    saved.save(4, restored.state, {})
    saved.close()
    other = {"rows of split 'train'": "cd"}
    with pytest.raises(ValueError, match="rows of split 'train' 'ab'; allowed here is 'cd': go on"):
        Checkpoints(folder, {**IDENTITY, **other}, unless_older=other).restore(run.first)


def test_that_of_another_method_is_refused(folder):
    refused(folder, small.Run("lora"), "allowed here is")


def test_a_foreign_folder_is_refused(folder, run):
    (folder / "notes.txt").write_text("mine")
    refused(folder, run, "notes.txt is no checkpoint; use another folder")


def test_content_that_its_checksum_denies_is_refused(run, tmp_path, monkeypatch):
    """Well-formed arrays of the right shapes whose bytes are others than were saved."""
    right = checkpoints._crc
    monkeypatch.setattr(checkpoints, "_crc", lambda arrays: right(arrays) ^ 1)
    saved = Checkpoints(tmp_path / "c", IDENTITY)
    saved.save(1, run.first, {})
    saved.close()
    monkeypatch.undo()
    refused(tmp_path / "c", run, "1 is damaged: its checksum differs")


def test_a_save_is_forced(run, tmp_path):
    """Else the writer's own policy decides whether this checkpoint is worth one."""
    seen = []

    def save(step, content, force=False):
        seen.append((step, force))
        return types.SimpleNamespace(result=lambda: None)

    saved = Checkpoints(tmp_path / "c", IDENTITY)
    saved._writer = types.SimpleNamespace(save_checkpointables_async=save, close=lambda: None)
    saved.save(3, run.first, {})
    saved.close()
    assert seen == [(3, True)] and saved.last == 3
