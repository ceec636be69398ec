"""A base trained whole, exported as a model folder, and adapted, as in the sequential paper."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from finetune import models, tasks
from finetune.models.mlp import MLPConfig
from finetune.training import adapter_files, checkpoints
from finetune.weights import saving
from launch.shell import app
from launch.training import job as training
from tests.launch.commands import command

FULL = ["--method=full", "--classes=first", "--hidden_size=16", "--steps=40"]
FULL += ["--learning_rate=0.02"]
ADAPT = ["--classes=second", "--method=sequential", "--path=1,3,5", "--head=freeze"]
PARAMETERS = 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10


def run(*flags):
    return command("train", *flags)


def write(*flags):
    return command("export", *flags)


def record(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished run of full fine-tuning, and its model folder."""
    folder = tmp_path_factory.mktemp("full")
    assert run(*FULL, f"--workdir={folder}/run") == 0
    assert write(f"--workdir={folder}/run", "--format=merged", f"--output={folder}/model") == 0
    return folder


def test_the_whole_network_is_trained_and_saved(base):
    result = record(base / "run")
    assert result["score"] > 0.5 > result["majority"]
    assert result["trainable_parameters"] == PARAMETERS and result["head_parameters"] == 170
    assert result["ranks"] == {} and "random, not pretrained" in result["note"]
    names = {path.name for path in (base / "run").iterdir()}
    assert "curves.png" in names and "ranks.png" not in names
    tensors = load_file(base / "run" / "adapter.safetensors")
    assert sum(leaf.size for leaf in tensors.values()) == PARAMETERS
    assert all(name.startswith("head.fc") for name in tensors)


def test_the_printout(capsys):
    assert run("--method=full", "--hidden_size=8", "--steps=1", "--head=freeze") == 0
    out = capsys.readouterr().out
    # All but the head: 64 * 8 + 8 + 8 * 8 + 8.
    assert "full on test of digits: 592 parameters whole, head freeze (0); 1 steps" in out


def test_the_model_folder_is_what_was_trained(base):
    _, model = models.load(base / "model", labels=10, key=jax.random.key(0))
    assert model.fresh == ()
    own = adapter_files.load(base / "run" / "adapter.safetensors").head
    for name, leaf in saving.state_dict(model).items():
        expected = own[name].T if leaf.ndim == 2 else own[name]
        assert np.array_equal(leaf, expected)
    task = tasks.load(tasks.TaskConfig("digits", classes="first"))
    batch = task.batch("test", None, 0, len(task.split("test")))
    score = np.mean(model(batch).logits.argmax(-1) == batch["labels"])
    assert np.isclose(score, record(base / "run")["score"])
    card = (base / "model" / "README.md").read_text()
    assert "method: full" in card and '"lora"' not in card


def test_there_is_nothing_for_peft(base, tmp_path, capsys):
    assert write(f"--workdir={base}/run", f"--output={tmp_path}/x") == 2
    err = capsys.readouterr().err
    assert "use --format=merged" in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough  # the test below reads it too
def test_the_second_half_starts_from_the_folder(base, tmp_path):
    flags = [f"--model={base}/model", *ADAPT, "--modules=fc", "--steps=18"]
    assert run(*flags, f"--workdir={tmp_path}/w") == 0
    result = record(tmp_path / "w")
    assert result["ranks"] == {"fc1": 3, "fc2": 3, "fc3": 3} and result["head_parameters"] == 0
    assert result["trainable_parameters"] == 3 * (64 + 16 + 16 + 16 + 16 + 10)
    assert result["note"] == "only the classes 5 to 9"
    assert record(base / "run")["base"] != result["base"]


def test_it_can_be_trained_whole_again(base, tmp_path):
    flags = [f"--model={base}/model", "--classes=second", "--method=full", "--steps=30"]
    flags += ["--learning_rate=0.02"]
    assert run(*flags, f"--workdir={tmp_path}/w") == 0
    assert record(tmp_path / "w")["score"] > 0.5
    target = f"--output={tmp_path}/x"
    assert write(f"--workdir={tmp_path}/w", "--format=merged", target) == 0
    one, two = (load_file(f / "model.safetensors") for f in (base / "model", tmp_path / "x"))
    assert not any(np.array_equal(leaf, two[name]) for name, leaf in one.items())


def test_another_input_size_is_refused_in_one_line(base, tmp_path, capsys):
    sizes = MLPConfig(num_labels=10, input_size=49, hidden_size=4)
    saving.save(tmp_path / "other", models.initialise(sizes, jax.random.key(0)))
    assert run(f"--model={tmp_path}/other", *ADAPT, f"--workdir={tmp_path}/w") == 2
    err = capsys.readouterr().err
    assert "other takes 49 numbers of an image; --task=digits gives 64" in err
    assert err.count("\n") == 1 and not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--modules=fc"], "--modules is for adapters"),
        (["--head_learning_rate=0.1"], "--head_learning_rate is for heads"),
        (["--adapter_dropout=0.1"], "--adapter_dropout is for adapters"),
        (["--rank=2"], "rank is 2, which method 'full' does not have; it has no options"),
    ],
)
def test_options_without_effect_are_refused(flags, text, capsys):
    assert run("--method=full", *flags) == 2
    err = capsys.readouterr().err
    assert text in err and err.count("\n") == 1


@pytest.mark.thorough  # a killed one: test_train.py
def test_an_interrupted_run_ends_with_the_same_bytes(base, tmp_path, monkeypatch):
    # Stopped after half of its steps by a limit that a checkpoint does not know of.
    full_run = training.run

    def half(job, saved, restored, report):
        loop = dataclasses.replace(job.loop, steps=20)
        full_run(job._replace(loop=loop), saved, restored, report)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run", half)
    assert run(*FULL, f"--workdir={tmp_path}/w") == app.INTERRUPTED
    assert not (tmp_path / "w" / "result.json").exists()
    monkeypatch.setattr(training, "run", full_run)
    restored = []
    first = checkpoints.Checkpoints.restore

    def seen(self, like):
        result = first(self, like)
        restored.append(int(result.state.step))
        return result

    monkeypatch.setattr(checkpoints.Checkpoints, "restore", seen)
    assert run(*FULL, f"--workdir={tmp_path}/w") == 0
    assert restored == [20]
    one, two = (f / "adapter.safetensors" for f in (base / "run", tmp_path / "w"))
    assert one.read_bytes() == two.read_bytes()
