"""Adapters made by PEFT give PEFT's numbers here, and damaged ones give one line."""

import functools
import json
import shutil
import types

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.models import load as load_model
from finetune.models import read_config
from finetune.peft import load, merged, reading
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import DATA, run
from tests.finetune.peft.made import ops, with_heads

GOLDEN = {"lora_bert": 3, "hetero_deberta": 2, "adalora_distilbert": 2}
FOLDER = DATA / "peft_adapters"
LOGITS = 1e-5


@pytest.mark.parametrize(
    "name",
    # Of AdaLoRA the damaged and the uncompacted files below; of one rank those of the damaged.
    [n if "hetero" in n else pytest.param(n, marks=pytest.mark.thorough) for n in GOLDEN],
)
def test_reference_adapters(name):
    folder, labels = FOLDER / name, GOLDEN[name]
    config, model = load_model(folder / "base", labels=labels, key=jax.random.key(0))
    adapters, heads, _ = load(folder, config)
    golden = np.load(folder / "expected.npz")
    keys = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {k: golden[k].astype(np.int32) for k in keys if k in golden}
    beside = run(with_heads(model, heads), inputs, ops(adapters)).logits
    assert np.abs(golden["logits"] - golden["base_logits"]).max() > 0.1
    assert np.abs(beside - golden["logits"]).max() < LOGITS
    leaves = named_leaves(merged(model, adapters, heads))
    for key in golden.files:
        if key.startswith("effective/"):
            kernel = leaves[key.removeprefix("effective/") + ".weight"].value
            assert np.abs(kernel - golden[key]).max() < 1e-6, key


def test_ranks_of_the_reference_adapters():
    ranks = {}
    for name, labels in GOLDEN.items():
        config = read_config(FOLDER / name / "base", labels=labels)
        adapters = load(FOLDER / name, config).adapters
        ranks[name] = sorted(change.a.shape[1] for change in adapters.values())
    assert ranks == {
        "lora_bert": [4, 4, 4, 4],
        "hetero_deberta": [1, 1, 2, 3, 3, 4, 4, 4, 4, 4, 5],
        "adalora_distilbert": [0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 3, 4],
    }


QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
CASES = {
    "a missing": (f"{QUERY}.lora_A.weight", None, "query.lora_A.weight is missing"),
    "b missing": (f"{QUERY}.lora_B.weight", None, "query.lora_B.weight is missing"),
    "head missing": ("base_model.model.classifier.bias", None, "classifier.bias is missing"),
    "in": (f"{QUERY}.lora_A.weight", (4, 31), r"query has factors of shapes \(31, 4\)"),
    "out": (f"{QUERY}.lora_B.weight", (31, 4), r"query has factors of shapes .*\(4, 31\)"),
    "rank": (f"{QUERY}.lora_A.weight", (3, 32), "query has rank 3; its configuration says 4"),
    "axes": (f"{QUERY}.lora_A.weight", (4,), "query has factors of shapes"),
    "head shape": ("base_model.model.classifier.weight", (2, 32), r"\(32, 2\); allowed is \(32, 3"),
    "magnitude": (f"{QUERY}.lora_magnitude_vector", (32,), "magnitude_vector is not known"),
    "no prefix": ("classifier.weight", (3, 32), "classifier.weight is not known here"),
    "adapter's name": (f"{QUERY}.lora_A.default.weight", (4, 32), "default.weight is not known"),
    "bias": (f"{QUERY}.bias", (32,), "query.bias is in none of modules_to_save"),
    "whole pooler": (
        "base_model.model.bert.pooler.dense.bias",
        (32,),
        "in none of modules_to_save",
    ),
    "kinds": (f"{QUERY}.lora_embedding_A", (4, 32), "beside tensors of another kind"),
}


def copy(tmp_path, name="lora_bert"):
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(FOLDER / name / file, tmp_path / file)
    return tmp_path / "adapter_model.safetensors", load_file(FOLDER / name / file)


def refused(folder, words, name="lora_bert"):
    config = read_config(FOLDER / name / "base", labels=GOLDEN[name])
    with pytest.raises(ValueError, match=words) as error:
        load(folder, config)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("case", CASES)
def test_damaged_tensors(case, tmp_path):
    name, shape, words = CASES[case]
    path, tensors = copy(tmp_path)
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = np.ones(shape, np.float32)
    save_file(tensors, path)
    refused(tmp_path, words)


def test_both_tensors_of_a_module_missing(tmp_path):
    """PEFT would go on with B = 0."""
    path, tensors = copy(tmp_path)
    save_file({n: t for n, t in tensors.items() if not n.startswith(QUERY)}, path)
    refused(tmp_path, "tensors of bert.encoder.layer.0.attention.self.query are missing")


def test_module_that_the_network_lacks(tmp_path):
    path, tensors = copy(tmp_path)
    for leaf in ("A", "B"):
        other = f"{QUERY}.lora_{leaf}.weight".replace("layer.0", "layer.7")
        tensors[other] = tensors[f"{QUERY}.lora_{leaf}.weight"]
    save_file(tensors, path)
    refused(tmp_path, "there is no module bert.encoder.layer.7")


def test_numbers(tmp_path):
    path, tensors = copy(tmp_path)
    save_file({**tensors, f"{QUERY}.lora_B.weight": np.full((32, 4), np.inf, np.float32)}, path)
    refused(tmp_path, "lora_B.weight contains NaN or infinity")
    save_file({**tensors, f"{QUERY}.lora_B.weight": np.ones((32, 4), np.int32)}, path)
    refused(tmp_path, "lora_B.weight has dtype int32")


def test_configuration_against_tensors(tmp_path):
    copy(tmp_path)
    file = tmp_path / "adapter_config.json"
    raw = json.loads(file.read_text())
    for entries, words in (
        ({"r": 5}, "query has rank 4; its configuration says 5"),
        ({"rank_pattern": {"query": 2}}, "query has rank 4; its configuration says 2"),
        ({"target_modules": ["query"]}, "value has tensors but is none of target_modules"),
        ({"target_modules": ["query", "value", "key"]}, "tensors of .*key are missing"),
        ({"modules_to_save": ["pooler", "classifier"]}, "bert.pooler.dense.bias is missing"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
    ):
        file.write_text(json.dumps({**raw, **entries}))
        refused(tmp_path, words)


def test_adalora_against_its_pattern(tmp_path):
    name = "adalora_distilbert"
    path, tensors = copy(tmp_path, name)
    module = "base_model.model.distilbert.transformer.layer.0.ffn.lin1"
    save_file({**tensors, f"{module}.lora_E": np.ones((2, 1), np.float32)}, path)
    refused(tmp_path, r"lora_E of .*lin1 has shape \(2, 1\); allowed is \(3, 1\)", name)
    save_file({n: t for n, t in tensors.items() if n != f"{module}.lora_E"}, path)
    refused(tmp_path, "lin1.lora_E is missing", name)
    save_file(tensors, path)
    file = tmp_path / "adapter_config.json"
    raw = json.loads(file.read_text())
    raw["rank_pattern"]["distilbert.transformer.layer.0.ffn.lin1.lora_E"] = [True] * 4
    file.write_text(json.dumps(raw))
    refused(tmp_path, "lin1 has rank 3; its configuration says 4", name)


def test_adalora_before_it_is_compacted(tmp_path):
    """Without rank_pattern every module has init_r components, masked ones with E = 0."""
    name = "adalora_distilbert"
    path, tensors = copy(tmp_path, name)
    file = tmp_path / "adapter_config.json"
    raw = json.loads(file.read_text())
    padded = dict(tensors)
    for key, kept in raw["rank_pattern"].items():
        module = f"base_model.model.{key.removesuffix('.lora_E')}"
        for leaf, axis in (("A", 0), ("E", 0), ("B", 1)):
            small = np.moveaxis(tensors[f"{module}.lora_{leaf}"], axis, 0)
            full = np.full((4, *small.shape[1:]), float(leaf != "E"), np.float32)
            full[np.array(kept)] = small
            padded[f"{module}.lora_{leaf}"] = np.ascontiguousarray(np.moveaxis(full, 0, axis))
    save_file(padded, path)
    file.write_text(json.dumps({**raw, "rank_pattern": None}))
    config = read_config(FOLDER / name / "base", labels=2)
    got, expected = load(tmp_path, config).adapters, load(FOLDER / name, config).adapters
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_rslora_scale(tmp_path):
    copy(tmp_path)
    file = tmp_path / "adapter_config.json"
    raw = json.loads(file.read_text())
    file.write_text(json.dumps({**raw, "use_rslora": True, "lora_alpha": 6}))
    config = read_config(FOLDER / "lora_bert" / "base", labels=3)
    plain, scaled = load(FOLDER / "lora_bert", config), load(tmp_path, config)
    for path, change in scaled.adapters.items():  # 6 / sqrt(4) instead of 8 / 4
        np.testing.assert_allclose(change.a, plain.adapters[path].a * 1.5, rtol=1e-6)
        np.testing.assert_array_equal(change.b, plain.adapters[path].b)


def test_half_precision(tmp_path):
    path, tensors = copy(tmp_path)
    save_file({name: t.astype(np.float16) for name, t in tensors.items()}, path)
    got = load(tmp_path, read_config(FOLDER / "lora_bert" / "base", labels=3))
    leaves = jax.tree.leaves((got.adapters, got.heads))
    assert {leaf.dtype.name for leaf in leaves} == {"float32"}


def test_truncated_and_absent(tmp_path):
    path, _ = copy(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    refused(tmp_path, "truncated")
    path.unlink()
    refused(tmp_path, "holds no adapter")


def test_wrong_number_of_labels():
    config = read_config(FOLDER / "lora_bert" / "base", labels=2)
    with pytest.raises(ValueError, match=r"classifier.weight has shape \(32, 3\); allowed is"):
        load(FOLDER / "lora_bert", config)


def test_the_scale_is_applied_in_float64():
    """A third in float32 times a float32 would be rounded twice."""
    a, b = (np.random.default_rng(0).normal(size=s).astype(np.float32) for s in ((3, 50), (40, 3)))
    entries = {
        name: types.SimpleNamespace(read=functools.partial(np.copy, value))
        for name, value in (("a", a), ("b", b))
    }
    settings = types.SimpleNamespace(scale_of=lambda path, rank: 1 / rank)
    result = reading.factors_of("fc", types.SimpleNamespace(entries=entries), settings)
    np.testing.assert_array_equal(result.a, (a.T.astype(np.float64) / 3).astype(np.float32))
    np.testing.assert_array_equal(result.b, b.T)
