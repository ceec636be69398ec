"""W + a b as a model of its own."""

import json

import jax
import numpy as np
import pytest

from finetune.adapters.method import Dense, Factors
from finetune.models import load
from finetune.peft import Card, export_merged, merged, merging
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import batch, run
from tests.finetune.peft.made import adapters, heads, model, ops, with_heads


# The names of the others' files are those of their bases.
@pytest.mark.parametrize(
    "kind",
    ["bert", *(pytest.param(k, marks=pytest.mark.thorough) for k in ("distilbert", "deberta-v2"))],
)
def test_folder_gives_the_logits_of_the_adapter(kind, tmp_path):
    changes, head, inputs = adapters(kind), heads(kind), batch()
    expected = run(with_heads(model(kind), head), inputs, ops(changes)).logits
    before = run(model(kind), inputs).logits
    export_merged(tmp_path / "x", model(kind), changes, head, base="b", card=Card(method="lora"))
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    _, read = load(tmp_path / "x", labels=3, key=jax.random.key(0))
    assert read.fresh == ()
    assert np.abs(run(read, inputs).logits - expected).max() < 1e-5
    assert np.abs(expected - before).max() > 0.1
    # The base is what it was.
    np.testing.assert_array_equal(run(model(kind), inputs).logits, before)


def test_rank_zero_changes_no_bit():
    same = merged(model("bert"), adapters("bert", ranks=(0,)), {})
    before = named_leaves(model("bert"))
    for name, leaf in named_leaves(same).items():
        np.testing.assert_array_equal(leaf.value, before[name].value)


def test_dense_changes():
    delta = np.full((12, 8), 0.5, np.float32)
    got = named_leaves(merged(model("mlp"), {"fc1": Dense(delta)}, {}))["fc1.weight"].value
    kernel = named_leaves(model("mlp"))["fc1.weight"].value
    np.testing.assert_allclose(got, kernel + delta, rtol=1e-6)


def test_mlp_reads_itself(tmp_path):
    changes = adapters("mlp", paths=["fc1", "fc2", "fc3"], ranks=(2,))
    export_merged(tmp_path / "x", model("mlp"), changes, {}, base="mlp")
    _, read = load(tmp_path / "x", labels=3, key=jax.random.key(0))
    inputs = {"pixels": np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)}
    expected = run(model("mlp"), inputs, ops(changes)).logits
    np.testing.assert_allclose(run(read, inputs).logits, expected, atol=1e-5)
    assert "from finetune.models import load" in (tmp_path / "x" / "README.md").read_text()


def test_entries_of_the_base(tmp_path):
    """Token ids stay; dtype, labels and sizes are those of the new model."""
    entries = {"pad_token_id": 7, "torch_dtype": "float16", "dtype": "float16", "id2label": {}}
    entries |= {"hidden_size": 999, "problem_type": "regression", "_name_or_path": "/x"}
    export_merged(tmp_path / "x", model("bert"), {}, {}, base="b", entries=entries)
    raw = json.loads((tmp_path / "x" / "config.json").read_text())
    assert (raw["pad_token_id"], raw["dtype"], raw["hidden_size"]) == (7, "float32", 16)
    assert len(raw["id2label"]) == 3
    assert not {"torch_dtype", "problem_type", "_name_or_path"} & set(raw)


@pytest.mark.parametrize(
    ("changes", "head", "words"),
    [
        ({"fc9": Factors(np.ones((12, 1)), np.ones((1, 8)))}, {}, "no module fc9"),
        ({"fc1": Dense(np.ones((8, 12)))}, {}, "fc1 has factors of shapes"),
        ({"fc1": Dense(np.full((12, 8), np.inf))}, {}, "fc1.delta contains NaN or infinity"),
        ({}, {"fc3.bias": np.ones(4)}, r"fc3.bias has shape \(4,\)"),
    ],
)
def test_refused(changes, head, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_merged(tmp_path / "x", model("mlp"), changes, head, base="b")
    assert list(tmp_path.iterdir()) == []


def test_a_change_of_a_head_is_one_of_the_given_head():
    """As PEFT saves maps of the vocabulary: their own kernel, and factors that change it."""
    kernel, change = np.ones((8, 3)), Factors(np.ones((8, 1)), np.full((1, 3), 2.0))
    result = merged(model("mlp"), {"fc3": change}, {"fc3.weight": kernel})
    np.testing.assert_array_equal(named_leaves(result)["fc3.weight"].value, kernel + 2)


def test_a_product_is_rounded_once():
    """In float64 until it is added: in float32 some of these sums are off by an ulp."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(40, 30)).astype(np.float32)
    change = Factors(*(rng.normal(size=s).astype(np.float32) for s in ((40, 16), (16, 30))))
    wide = kernel.astype(np.float64) + change.a.astype(np.float64) @ change.b.astype(np.float64)
    np.testing.assert_array_equal(
        merging.changed_kernel(kernel, change).astype("f4"), wide.astype(np.float32)
    )
