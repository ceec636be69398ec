"""Paths, shapes and heads of each architecture; these are the names that PEFT reads."""

import jax
import pytest

from finetune.models import abstract, embeddings, head_modules, linears, load
from tests.finetune.models.tiny import CONFIGS, DATA, MLP_CONFIG

KEY = jax.random.key(0)

LAYER = {
    "bert": [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ],
    "distilbert": [
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "ffn.lin1",
        "ffn.lin2",
    ],
    "deberta-v2": [
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ],
}
STACK = {
    "bert": "bert.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "deberta-v2": "deberta.encoder.layer",
}
HEADS = {
    "bert": ["bert.pooler.dense", "classifier"],
    "distilbert": ["pre_classifier", "classifier"],
    "deberta-v2": ["pooler.dense", "classifier"],
}


@pytest.mark.parametrize("kind", LAYER)
def test_linears_in_the_order_of_the_forward_pass(kind):
    # An abstract model is enough: paths cost no memory.
    found = linears(abstract(CONFIGS[kind]))
    layers = [f"{STACK[kind]}.{i}.{name}" for i in range(2) for name in LAYER[kind]]
    assert list(found) == [*layers, *HEADS[kind]]
    assert found[layers[4]] == (16, 24)
    assert found[layers[5]] == (24, 16)
    assert found["classifier"] == (16, 3)


def test_embeddings():
    found = embeddings(abstract(CONFIGS["deberta-v2"]))
    assert found == {
        "deberta.embeddings.word_embeddings": (50, 16),
        "deberta.encoder.rel_embeddings": (8, 16),
    }


def test_mean_pooling_leaves_out_the_pooler_of_bert():
    config = type(CONFIGS["bert"])(**{**vars(CONFIGS["bert"]), "pooling": "mean"})
    assert "bert.pooler.dense" not in linears(abstract(config))


def test_heads():
    heads = {kind: head_modules(abstract(config)) for kind, config in CONFIGS.items()}
    assert heads == {
        "bert": ("classifier",),
        "distilbert": ("pre_classifier", "classifier"),
        "deberta-v2": ("pooler", "classifier"),
    }
    assert head_modules(abstract(MLP_CONFIG)) == ("fc3",)


def test_a_fresh_pooler_is_trained_too(tmp_path):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(DATA / "bert" / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith("pooler")}
    save_file(kept, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((DATA / "bert" / "config.json").read_text())
    _, model = load(tmp_path, labels=2, key=KEY)
    assert head_modules(model) == ("bert.pooler", "classifier")
