"""launch.train: runs that are prolonged or start anew in their folder."""

import json
import os
import shutil

import pytest

from tests.launch.commands import command

SMALL = ["--hidden_size=16", "--steps=20", "--rank=2", "--checkpoint_every=5"]


def run(*flags):
    """The exit status of the command."""
    return command("train", *flags)


def record(folder):
    return json.loads((folder / "result.json").read_text())


LONGER = ["--method=lora", "--hidden_size=16", "--rank=2", "--checkpoint_every=5"]


def adapter(folder):
    return (folder / "adapter.safetensors").read_bytes()


def test_a_constant_rate_is_prolonged_to_the_same_bytes(tmp_path, capsys):
    flags = [*LONGER, "--schedule=constant", "--warmup=2"]
    assert run(*flags, "--steps=20", f"--workdir={tmp_path}/one") == 0
    assert run(*flags, "--steps=10", f"--workdir={tmp_path}/two") == 0
    capsys.readouterr()
    assert run(*flags, "--steps=20", f"--workdir={tmp_path}/two") == 0
    assert "goes on from step 10 to 20, planned were 10\n" in capsys.readouterr().err
    assert adapter(tmp_path / "one") == adapter(tmp_path / "two")
    assert "planned were 10" in record(tmp_path / "two")["note"]
    assert run(*flags, "--steps=10", f"--workdir={tmp_path}/two") == 2
    assert "holds 20 steps of a run of 20; --steps or" in capsys.readouterr().err


@pytest.mark.thorough  # a constant one above
def test_a_falling_rate_that_is_prolonged_says_so(tmp_path, capsys):
    assert run(*LONGER, "--steps=10", f"--workdir={tmp_path}/w") == 0
    assert run(*LONGER, "--epochs=1", f"--workdir={tmp_path}/w") == 0
    err = capsys.readouterr().err
    assert "laid out anew, and the learning rate of step 10 is" in err and "not 0\n" in err
    assert record(tmp_path / "w")["steps"] > 10


def test_overwrite_starts_anew_and_leaves_what_is_not_its_own(tmp_path):
    folder = tmp_path / "w"
    assert run(*LONGER, "--steps=10", f"--workdir={folder}") == 0
    first = adapter(folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoints" / "notes.txt").write_text("mine")
    flags = [*LONGER, "--steps=5", f"--workdir={folder}"]
    assert run(*flags, "--learning_rate=0.1") == 2
    assert adapter(folder) == first
    assert run(*flags, "--learning_rate=0.1", "--overwrite") == 0
    assert adapter(folder) != first and record(folder)["steps"] == 5
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "checkpoints" / "notes.txt").exists()


def test_a_refused_start_binds_nothing(tmp_path, capsys):
    folder = tmp_path / "w"
    flags = ["--method=lora", *SMALL, f"--workdir={folder}"]
    assert run(*flags, "--optimiser=sgd", "--clip=0", "--learning_rate=1e30") == 2
    assert (folder / "config.json").exists() and not (folder / "result.json").exists()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    assert run(*flags) == 0


def test_the_configuration_of_something_else_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert run("--method=lora", *SMALL, f"--workdir={tmp_path}") == 2
    err = capsys.readouterr().err
    assert "config.json is of something else than this command" in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == ["config.json"]
