"""What of an earlier command binds the next one in its folder, and what is deleted."""

import dataclasses
import json
import os

import pytest

from launch.shell import earlier


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float | None = 0.1
    steps: int | None = None
    options: dict = dataclasses.field(default_factory=dict)
    mesh: list = dataclasses.field(default_factory=list)
    workdir: str | None = None


def left(folder, config=Config(), *names):
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")


def test_only_what_was_saved_binds(tmp_path):
    assert not earlier.same_run(None, Config(), ())
    assert not earlier.same_run(tmp_path, Config(), ())
    left(tmp_path)
    assert not earlier.same_run(tmp_path, Config(rate=0.2), ())
    (tmp_path / "checkpoints" / "10.orbax-checkpoint-tmp").mkdir(parents=True)  # cut short
    assert not earlier.same_run(tmp_path, Config(rate=0.2), ())
    (tmp_path / "checkpoints" / "10").mkdir()
    assert earlier.same_run(tmp_path, Config(), ())
    with pytest.raises(
        ValueError, match=r"with --rate=0\.1, not 0\.2; repeat its flags .*, --overwrite start"
    ):
        earlier.same_run(tmp_path, Config(rate=0.2), ())
    assert earlier.same_run(tmp_path, Config(rate=0.2), ("rate",))


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (Config(steps=900), Config(), "a run with --steps=900, not given here; repeat its flags"),
        (Config(), Config(steps=900), "a run without --steps, not 900; repeat its flags"),
        (Config(options={"rank": 2}), Config(options={"rank": 4}), "with --rank=2, not 4"),
        (Config(options={"rank": 2}), Config(), "with --rank=2, not given here"),
        (Config(), Config(options={"alpha": 0}), "without --alpha, not 0"),
        (Config(mesh=["a:2", "b:2"]), Config(mesh=["a:4"]), "with --mesh=a:2,b:2, not a:4"),
        (Config(rate=0.0), Config(rate=None), "with --rate=0.0, not given here"),
    ],
)
def test_what_differs_is_said_as_flags(then, now, said, tmp_path):
    left(tmp_path, then, "result.json")
    with pytest.raises(ValueError, match=said):
        earlier.same_run(tmp_path, now, ())


def test_a_flag_that_an_earlier_version_lacked_was_not_set(tmp_path):
    (tmp_path / "config.json").write_text('{"rate": 0.1, "workdir": null, "mesh": []}')
    (tmp_path / "result.json").touch()
    assert earlier.same_run(tmp_path, Config(), ())
    with pytest.raises(ValueError, match="without --steps, not 3"):
        earlier.same_run(tmp_path, Config(steps=3), ())


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[]", "{", '{"rate": 1, "other": 2}'])
def test_files_of_something_else_are_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    for check in (earlier.require_own, lambda *args: earlier.same_run(*args, ())):
        with pytest.raises(ValueError, match=r"config\.json is .*choose another --workdir"):
            check(tmp_path, Config())


def test_clearing_deletes_the_run_s_own_files_alone(tmp_path):
    own = ("result.json", "metrics.jsonl", "run.npz", "curves.png", "ranks.svg")
    left(tmp_path, Config(), *own, "notes.txt", "other.png", "checkpoints/notes.txt")
    for name in ("10", "20.orbax-checkpoint-tmp", "mine"):
        (tmp_path / "checkpoints" / name).mkdir()
    earlier.clear(tmp_path)
    kept = {"checkpoints", "config.json", "notes.txt", "other.png"}
    assert set(os.listdir(tmp_path)) == kept
    assert set(os.listdir(tmp_path / "checkpoints")) == {"mine", "notes.txt"}
    earlier.clear(tmp_path / "missing")
