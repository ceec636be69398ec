"""The command: a trained adapter leaves for PEFT, or merged, and what is refused."""

import json

import jax
import numpy as np
import pytest

from finetune import peft
from finetune.models import load, read_config
from finetune.models.bert import BertConfig
from finetune.training import adapter_files
from finetune.weights import saving
from tests.finetune.models.tiny import BERT, random_model, run
from tests.finetune.peft.made import ops, with_heads
from tests.launch.commands import command
from tests.launch.texts import made


def write(*flags):
    return command("export", *flags)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A run on a made table with a tiny BERT."""
    folder = tmp_path_factory.mktemp("text")
    flags = [*made(folder, layers=1), "--method=lora", "--rank=2", "--steps=2", "--batch_size=4"]
    assert command("train", *flags, "--modules=query|value", f"--workdir={folder}/run") == 0
    return folder


def test_peft(text, tmp_path, capsys):
    assert write(f"--workdir={text}/run", f"--output={tmp_path}/x") == 0
    assert "peft of 2 modules" in capsys.readouterr().out
    config = read_config(text / "base", labels=2)
    got, own = (
        peft.load(tmp_path / "x", config),
        adapter_files.load(text / "run/adapter.safetensors"),
    )
    assert got.config.base == str(text / "base") and got.config.revision is None
    jax.tree.map(np.testing.assert_array_equal, got.adapters, dict(sorted(own.modules.items())))
    jax.tree.map(np.testing.assert_array_equal, got.heads, own.head)
    card, result = (tmp_path / "x" / "README.md").read_text(), text / "run" / "result.json"
    score = json.loads(result.read_text())["score"]
    assert f"{score:.4f}" in card and "method: lora" in card


def test_merged(text, tmp_path):
    assert write(f"--workdir={text}/run", "--format=merged", f"--output={tmp_path}/x") == 0
    own = adapter_files.load(text / "run/adapter.safetensors")
    inputs = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), np.int32)}
    _, base = load(text / "base", labels=2, key=jax.random.key(0))
    _, joined = load(tmp_path / "x", labels=2, key=jax.random.key(0))
    expected = run(with_heads(base, own.head), inputs, ops(own.modules)).logits
    np.testing.assert_allclose(run(joined, inputs).logits, expected, atol=1e-5)


def test_refused(text, tmp_path, capsys):
    target = f"--output={tmp_path}/x"
    assert write(target) == 2
    assert write(f"--workdir={tmp_path}/none", target) == 2
    assert write(f"--workdir={text}/run", f"--output={tmp_path}") == 2
    words = ("--workdir", "result.json cannot be read", "exists")
    for line, word in zip(capsys.readouterr().err.splitlines(), words, strict=True):
        assert word in line
    assert list(tmp_path.iterdir()) == []


def test_another_base_is_refused(text, tmp_path, capsys):
    kept = (text / "base" / "model.safetensors").read_bytes()
    try:
        other = BertConfig(num_labels=2, **{**BERT, "num_hidden_layers": 1})
        saving.save(text / "base", random_model(other, seed=1))
        assert write(f"--workdir={text}/run", f"--output={tmp_path}/x") == 2
    finally:
        (text / "base" / "model.safetensors").write_bytes(kept)
    assert "is another base model" in capsys.readouterr().err


@pytest.mark.thorough  # a merged MLP is read in test_train_full.py
def test_the_mlp_is_nowhere_else(tmp_path, capsys):
    flags = ["--hidden_size=8", "--steps=1", "--rank=1", "--method=lora"]
    assert command("train", *flags, f"--workdir={tmp_path}/run") == 0
    assert write(f"--workdir={tmp_path}/run", f"--output={tmp_path}/x") == 2
    assert "use --format=merged" in capsys.readouterr().err
    assert write(f"--workdir={tmp_path}/run", "--format=merged", f"--output={tmp_path}/x") == 0
    load(tmp_path / "x", labels=10, key=jax.random.key(0))


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A run of GaLore on the same table, which leaves dense changes."""
    folder = tmp_path_factory.mktemp("dense")
    flags = [*made(folder, layers=1), "--method=galore", "--rank=2", "--gap=2", "--steps=4"]
    flags += ["--batch_size=4", "--modules=query|value", f"--workdir={folder}/run"]
    assert command("train", *flags) == 0
    return folder


def test_dense_changes_are_merged_or_truncated_with_their_error(dense, tmp_path, capsys):
    run_flag = f"--workdir={dense}/run"
    assert write(run_flag, f"--output={tmp_path}/x") == 2
    assert "a dense change; merge or truncate it" in capsys.readouterr().err
    assert write(run_flag, "--truncate=0.3", f"--output={tmp_path}/x") == 0
    line = capsys.readouterr().out
    assert "truncated 2 modules, ranks" in line and "largest relative error 0." in line
    assert "largest relative error" in (tmp_path / "x" / "README.md").read_text()
    got = peft.load(tmp_path / "x", read_config(dense / "base", labels=2))
    own = adapter_files.load(dense / "run/adapter.safetensors")
    for path, change in own.modules.items():
        product = got.adapters[path].a @ got.adapters[path].b
        error = np.linalg.norm(product - change.delta) / np.linalg.norm(change.delta)
        assert error <= 0.3
    assert write(run_flag, "--truncate=0.3", "--format=merged", f"--output={tmp_path}/y") == 2
    assert "--truncate is for --format=peft" in capsys.readouterr().err
    assert write(run_flag, "--format=merged", f"--output={tmp_path}/y") == 0


@pytest.mark.thorough  # test_round_trip_methods.py
def test_factors_that_replace_the_base_are_merged_only(tmp_path, capsys):
    flags = [*made(tmp_path, layers=1), "--method=welore", "--steps=2", "--batch_size=4"]
    assert command("train", *flags, f"--workdir={tmp_path}/run") == 0
    run_flag = f"--workdir={tmp_path}/run"
    capsys.readouterr()
    for truncate in ([], ["--truncate=0.3"]):
        assert write(run_flag, *truncate, f"--output={tmp_path}/x") == 2
        assert "--method=welore left no adapter for PEFT" in capsys.readouterr().err
    assert write(run_flag, "--format=merged", f"--output={tmp_path}/x") == 0
    own = adapter_files.load(tmp_path / "run/adapter.safetensors")
    inputs = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), np.int32)}
    _, base = load(tmp_path / "base", labels=2, key=jax.random.key(0))
    _, joined = load(tmp_path / "x", labels=2, key=jax.random.key(0))
    whole = peft.merged(base, own.modules, own.head)
    np.testing.assert_allclose(run(joined, inputs).logits, run(whole, inputs).logits, atol=1e-5)
