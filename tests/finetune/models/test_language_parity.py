"""Language models and their classifiers: the same numbers and words as transformers' PyTorch."""

import jax
import numpy as np
import pytest

from finetune.models import load
from finetune.models.registry import ARCHITECTURES
from tests.finetune.models.tiny import DATA, LLAMA, batch, greedy, run, tokens_only

BOUND = 2e-5
KEY = jax.random.key(0)

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 50.0, "factor": 3.0}
ONE = {"num_hidden_layers": 1}

# Class of transformers, overrides of the tiny configuration, labels.
LLAMAS = {
    "own heads": ("LlamaForCausalLM", {"num_key_value_heads": 4}, 0),
    "one group, tied": (
        "LlamaForCausalLM",
        {"num_key_value_heads": 1, "tie_word_embeddings": True, **ONE},
        0,
    ),
    "wide heads, llama3": ("LlamaForCausalLM", {"head_dim": 6, "rope_parameters": LLAMA3}, 0),
    "linear": ("LlamaForCausalLM", {"rope_parameters": LINEAR, "hidden_act": "gelu", **ONE}, 0),
    "classifier": ("LlamaForSequenceClassification", {}, 3),
    "regression": ("LlamaForSequenceClassification", {"rms_norm_eps": 1e-2, **ONE}, 1),
}


def saved(transformers, name, settings, folder):
    """A saved model of transformers whose every parameter is random, gains too."""
    import torch

    torch.manual_seed(0)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**settings)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            gain = 1.0 if "norm" in key else 0.0
            parameter.copy_(gain + 0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def fed(inputs, *names):
    import torch

    return {name: torch.tensor(inputs[name]).long() for name in names}


def reference(model, inputs):
    import torch

    with torch.no_grad():
        return model(**inputs, output_hidden_states=True)


def read(name):
    """The reference numbers of a model, and its inputs."""
    golden = dict(np.load(DATA / name / "golden.npz"))
    names = [n for n in ("input_ids", "attention_mask", "decoder_input_ids") if n in golden]
    return golden, {n: golden[n].astype(np.int32) for n in names}


def test_reference_llama():
    golden, inputs = read("llama")
    _, model = load(DATA / "llama", labels=0, key=KEY)
    got = run(model, inputs)
    assert model.fresh == () and type(model) is ARCHITECTURES["llama"]
    assert tokens_only(got.logits, golden["logits"], inputs["attention_mask"]) < BOUND
    for ours, theirs in zip(got.hidden_states, golden["hidden_states"], strict=True):
        assert tokens_only(ours, theirs, inputs["attention_mask"]) < BOUND


@pytest.mark.parametrize("case", LLAMAS)
def test_random_llamas(case, transformers, tmp_path):
    name, overrides, labels = LLAMAS[case]
    settings = {**LLAMA, **overrides, **({"num_labels": labels} if labels else {})}
    theirs = saved(transformers, name, settings, tmp_path)
    inputs = batch(seed=1, length=30)
    expected = reference(theirs, fed(inputs, "input_ids", "attention_mask"))
    _, model = load(tmp_path, labels=labels, key=KEY)
    got = run(model, inputs)
    mask = inputs["attention_mask"] if labels == 0 else np.ones(3)
    assert model.fresh == ()
    assert tokens_only(got.logits, expected.logits.numpy(), mask) < BOUND
    for ours, other in zip(got.hidden_states, expected.hidden_states, strict=True):
        assert tokens_only(ours, other.numpy(), inputs["attention_mask"]) < BOUND


def test_llama_goes_on_as_theirs_does(transformers, tmp_path):
    theirs = saved(transformers, "LlamaForCausalLM", LLAMA, tmp_path)
    inputs = batch(seed=3, length=7)
    _, model = load(tmp_path, labels=0, key=KEY)
    got = greedy(model, inputs, 12, stop=(2,))
    for row, words in enumerate(got):
        size = inputs["attention_mask"][row].sum()
        one = fed({n: leaf[row : row + 1, :size] for n, leaf in inputs.items()}, "input_ids")
        same = theirs.generate(**one, max_new_tokens=12, do_sample=False, pad_token_id=0)
        same = same[0, size:].numpy()
        np.testing.assert_array_equal(words[: len(same)], same)
        assert not words[len(same) :].any()
