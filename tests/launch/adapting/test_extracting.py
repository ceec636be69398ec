"""A tuned model and its base on disk -> an adapter in a folder."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.compression import gram_files
from finetune.models import load
from finetune.models.bert import BertConfig
from finetune.peft import standalone
from finetune.weights import saving
from tests.finetune.models.tiny import BERT, LLAMA_CONFIG, random_model
from tests.finetune.weights import gguf_bytes
from tests.launch.commands import command

FILE = "model.safetensors"
QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base, and the same with a change of rank 3 in a map and a shifted norm."""
    folder = tmp_path_factory.mktemp("models")
    saving.save(folder / "base", random_model(BertConfig(num_labels=2, **BERT)))
    shutil.copytree(folder / "base", folder / "tuned")
    shutil.copytree(folder / "base", folder / "linear")
    rng = np.random.default_rng(0)
    tensors = load_file(folder / "base" / FILE)
    size_out, size_in = tensors[f"{QUERY}.weight"].shape
    change = (rng.normal(size=(size_out, 3)) @ rng.normal(size=(3, size_in))).astype(np.float32)
    tensors[f"{QUERY}.weight"] = tensors[f"{QUERY}.weight"] + change
    save_file(tensors, folder / "linear" / FILE)
    norm = "bert.encoder.layer.0.output.LayerNorm.weight"
    save_file({**tensors, norm: tensors[norm] + 1}, folder / "tuned" / FILE)
    return folder, change


def extract(models, *flags, model="linear", base="base"):
    folder = models[0]
    return command(
        "adapter", "extract", f"--model={folder}/{model}", f"--base={folder}/{base}", *flags
    )


@pytest.mark.parametrize("size", ["--rank=3", "--rank=2", "--energy=1", "--rank=exact"])
def test_extract(models, size, tmp_path):
    assert extract(models, size, f"--output={tmp_path}/x") == 0
    adapter = standalone.read(tmp_path / "x")
    assert list(adapter.modules) == [QUERY] and adapter.config.base == f"{models[0]}/base"
    a, b = adapter.modules[QUERY]
    error = np.linalg.norm(models[1].T - a @ b) / np.linalg.norm(models[1])
    values = np.linalg.svd(models[1], compute_uv=False)
    least = values[2] / np.linalg.norm(values) if size == "--rank=2" else 0
    assert error == pytest.approx(least, abs=1e-5)
    record = json.loads((tmp_path / "x" / "compression.json").read_text())
    assert record["relative_error"] == pytest.approx(error, abs=1e-5)


def test_outside_of_linear_maps(models, tmp_path, capsys):
    flags = ["--rank=3", f"--output={tmp_path}/x"]
    assert extract(models, *flags, model="tuned") == 2
    squares = np.sum(models[1].astype(float) ** 2)
    norm = load_file(models[0] / "tuned" / FILE)["bert.encoder.layer.0.output.LayerNorm.weight"]
    share = f"{len(norm) / (squares + len(norm)):.2g} of the squared change"  # 1 of every number
    said = capsys.readouterr().err
    assert f"output.LayerNorm.weight differ and are no linear maps of both models ({share})" in said
    assert list(tmp_path.iterdir()) == []
    assert extract(models, *flags, "--outside=save", model="tuned") == 0
    assert f"1 parameters whole, {share}" in capsys.readouterr().out
    tuned = load_file(models[0] / "tuned" / FILE)
    for name, value in standalone.read(tmp_path / "x").heads.items():
        np.testing.assert_array_equal(value, tuned[name])


def bare(tensors):
    """The file of the encoder alone, as sentence-transformers writes it."""
    inner = {n.removeprefix("bert."): v for n, v in tensors.items() if n.startswith("bert.")}
    return inner | {"embeddings.position_ids": np.arange(20)[None]}


def test_a_base_with_another_head_or_none(models, tmp_path, capsys):
    """Names are the tuned model's; its head is new, and the base's is none of its business."""
    tensors = load_file(models[0] / "linear" / FILE)
    base = load_file(models[0] / "base" / FILE)
    kept = {n: v for n, v in tensors.items() if not n.startswith("bert.pooler")}
    many = {"classifier.weight": np.ones((5, 16)), "classifier.bias": np.zeros(5)}
    many = {name: value.astype(np.float32) for name, value in many.items()}
    cases = {
        "bare": (bare(base), tensors, "bert.", {"classifier.weight", "classifier.bias"}),
        "both": (bare(base), bare(tensors), "", set()),
        "more": (base, tensors | many, "bert.", set(many)),
        "less": (base | {"cls.predictions.bias": np.ones(50)}, kept, "bert.", set()),
    }
    for name, (old, new, start, heads) in cases.items():
        for folder, values in ((tmp_path / f"{name}.base", old), (tmp_path / name, new)):
            shutil.copytree(models[0] / "base", folder)
            save_file(values, folder / FILE)
        flags = [f"--model={tmp_path}/{name}", f"--base={tmp_path}/{name}.base", "--rank=3"]
        flags += [f"--output={tmp_path}/{name}.x"]
        if heads:
            assert command("adapter", "extract", *flags) == 2
            assert "classifier" in capsys.readouterr().err
        assert command("adapter", "extract", *flags, "--outside=save") == 0
        adapter = standalone.read(tmp_path / f"{name}.x")
        assert list(adapter.modules) == [start + QUERY.removeprefix("bert.")]
        assert set(adapter.heads) == heads
        a, b = next(iter(adapter.modules.values()))
        np.testing.assert_allclose(a @ b, models[1].T, atol=1e-4)


@pytest.mark.parametrize("which", ["model", "base"])
def test_bodies_that_differ_are_refused(models, which, tmp_path, capsys):
    folder = tmp_path / "less"
    shutil.copytree(models[0] / "base", folder)
    tensors = load_file(folder / FILE)
    lacking = {n: v for n, v in tensors.items() if ".layer.1." not in n}
    save_file(lacking, folder / FILE)
    flags = {"model": f"{models[0]}/linear", "base": f"{models[0]}/base"} | {which: str(folder)}
    flags = [f"--{name}={value}" for name, value in flags.items()]
    assert command("adapter", "extract", *flags, "--rank=2", f"--output={tmp_path}/x") == 2
    other = {"model": "--base", "base": "--model"}[which]
    assert f"layer.1.attention.output.LayerNorm.bias is only in {other}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"model": "base"}, "no linear map of"),
        ({"model": "none"}, "none"),
        ({"base": "none"}, "none"),
    ],
)
def test_refused(models, places, words, tmp_path, capsys):
    assert extract(models, "--rank=2", f"--output={tmp_path}/x", **places) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_on_inputs(models, tmp_path):
    """Better on them than without, by what the file says."""
    x = np.random.default_rng(1).normal(size=(40, models[1].shape[1]))
    x *= 10.0 ** np.linspace(-1, 1, x.shape[1])
    gram_files.write(tmp_path / "g.safetensors", {QUERY: x.T @ x})
    errors = []
    for number, more in enumerate(([], [f"--gram={tmp_path}/g.safetensors", "--shrink=0"])):
        place = tmp_path / str(number)
        assert extract(models, "--rank=1", *more, f"--output={place}") == 0
        a, b = standalone.read(place).modules[QUERY]
        errors.append(np.linalg.norm(x @ (models[1].T - a @ b)) / np.linalg.norm(x @ models[1].T))
    record = json.loads((place / "compression.json").read_text())
    least = np.linalg.svd(x @ models[1].T, compute_uv=False)
    assert errors[1] == pytest.approx(np.linalg.norm(least[1:]) / np.linalg.norm(least), rel=1e-4)
    assert record["relative_error"] == pytest.approx(errors[1], rel=1e-4)
    assert errors[0] > 1.05 * errors[1]


@pytest.mark.parametrize("kinds", [("base.gguf", "tuned"), ("base.gguf", "tuned.gguf")])
def test_a_base_in_a_gguf_file(kinds, tmp_path):
    """Queries lie there with the halves of each head interleaved."""
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    model = random_model(dataclasses.replace(LLAMA_CONFIG, num_hidden_layers=1))
    gguf_bytes.write(tmp_path / "base.gguf", model)
    saving.save(tmp_path / "tuned", model)
    tensors = load_file(tmp_path / "tuned" / FILE)
    name = "model.layers.0.self_attn.q_proj"
    change = np.zeros_like(tensors[f"{name}.weight"])
    change[1], change[-1] = 2, np.arange(change.shape[1])
    save_file({**tensors, f"{name}.weight": tensors[f"{name}.weight"] + change},
              tmp_path / "tuned" / FILE)  # fmt: skip
    if kinds[1] == "tuned.gguf":
        _, tuned = load(tmp_path / "tuned", labels=0, key=jax.random.key(0))
        gguf_bytes.write(tmp_path / "tuned.gguf", tuned)
    flags = [f"--base={tmp_path}/{kinds[0]}", f"--model={tmp_path}/{kinds[1]}", "--rank=2"]
    assert command("adapter", "extract", *flags, f"--output={tmp_path}/x") == 0
    adapter = standalone.read(tmp_path / "x")
    assert list(adapter.modules) == [name] and adapter.config.base == f"{tmp_path}/base.gguf"
    a, b = adapter.modules[name]
    np.testing.assert_allclose(a @ b, change.T, atol=1e-4)
