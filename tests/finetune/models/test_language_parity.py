"""Language models and their classifiers: the same numbers and words as transformers' PyTorch."""

import jax
import numpy as np
import pytest

from finetune.models import load
from finetune.models.registry import ARCHITECTURES
from tests.finetune.models.tiny import DATA, LLAMA, T5, batch, greedy, pairs, run, tokens_only

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
SMALL = {"num_layers": 1, "num_decoder_layers": 1}

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
    "mistral": ("MistralForCausalLM", {"sliding_window": 5}, 0),
    "mistral without a window": (
        "MistralForSequenceClassification",
        {"sliding_window": None, "head_dim": 6, **ONE},
        2,
    ),
    "qwen2": ("Qwen2ForCausalLM", {"tie_word_embeddings": True}, 0),
    "qwen2 with windows": (
        "Qwen2ForCausalLM",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
        0,
    ),
    "qwen2 with kinds of layers": (
        "Qwen2ForSequenceClassification",
        {
            "use_sliding_window": True,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        3,
    ),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 6}, 0),
    "qwen3 classifier": (
        "Qwen3ForSequenceClassification",
        {"head_dim": 6, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
        2,
    ),
}

# One of each family and of each way to turn positions; what is left out changes a size or a head.
FIRST = ("one group, tied", "wide heads, llama3", "classifier", "qwen2 with kinds of layers")
FIRST += ("mistral", "qwen3")
T5S = {
    "original": ("T5ForConditionalGeneration", {}, 0),
    "published buckets": (
        "T5ForConditionalGeneration",
        {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, **SMALL},
        0,
    ),
    "1.1": (
        "T5ForConditionalGeneration",
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        0,
    ),
    "gated silu": ("T5ForConditionalGeneration", {"feed_forward_proj": "gated-silu", **SMALL}, 0),
    "classifier": ("T5ForSequenceClassification", {}, 3),
    "classifier 1.1": (
        "T5ForSequenceClassification",
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, **SMALL},
        1,
    ),
}


def saved(transformers, name, settings, folder):
    """A saved model of transformers whose every parameter is random, gains too."""
    import torch

    torch.manual_seed(0)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**settings)).eval()
    if name == "T5ForConditionalGeneration" and settings.get("tie_word_embeddings") is False:
        # Since version 5 they tie every T5 that is not read from a file with two matrices.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        model.config.tie_word_embeddings = False
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            gain = 1.0 if "norm" in key else 0.0  # the bias tables of T5 are no gains
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


@pytest.mark.parametrize(
    "case", [c if c in FIRST else pytest.param(c, marks=pytest.mark.thorough) for c in LLAMAS]
)
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


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("LlamaForCausalLM", {}),
        # Windows are compared as a whole above.
        pytest.param(
            "MistralForCausalLM", {"sliding_window": 5, **ONE}, marks=pytest.mark.thorough
        ),
        ("Qwen3ForCausalLM", {"head_dim": 6, **ONE}),
    ],
)
def test_llamas_go_on_as_theirs_do(name, overrides, transformers, tmp_path):
    theirs = saved(transformers, name, {**LLAMA, **overrides}, tmp_path)
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


@pytest.mark.parametrize("name", [pytest.param("t5_relu", marks=pytest.mark.thorough), "t5_gated"])
def test_reference_t5(name):
    golden, inputs = read(name)
    _, model = load(DATA / name, labels=0, key=KEY)
    got = run(model, inputs)
    assert model.fresh == ()
    assert np.abs(got.logits - golden["logits"]).max() < BOUND
    for ours, theirs in zip(got.hidden_states, golden["decoder_hidden_states"], strict=True):
        assert np.abs(ours - theirs).max() < BOUND
    encoder = zip(got.encoder_hidden_states, golden["encoder_hidden_states"], strict=True)
    for ours, theirs in encoder:
        assert tokens_only(ours, theirs, inputs["attention_mask"]) < BOUND


def with_eos(inputs):
    """The last token of every row is eos, and no other is."""
    ids, sizes = inputs["input_ids"].copy(), inputs["attention_mask"].sum(1)
    ids[ids == 1] = 3
    ids[np.arange(len(ids)), sizes - 1] = 1
    return {**inputs, "input_ids": ids}


def distance(got, expected, mask):
    """Relative to the largest number where that is above one: nothing bounds what T5 sums up."""
    return tokens_only(got, expected, mask) / max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(
    "case",
    # The original goes on as theirs does below, 1.1 is a reference above.
    [pytest.param(c, marks=pytest.mark.thorough) if c in ("original", "1.1") else c for c in T5S],
)
def test_random_t5s(case, transformers, tmp_path):
    name, overrides, labels = T5S[case]
    settings = {**T5, **overrides, **({"num_labels": labels} if labels else {})}
    theirs = saved(transformers, name, settings, tmp_path)
    inputs = with_eos(pairs(seed=1, length=40, more=30))
    names = ["input_ids", "attention_mask", *([] if labels else ["decoder_input_ids"])]
    expected = reference(theirs, fed(inputs, *names))
    _, model = load(tmp_path, labels=labels, key=KEY)
    got = run(model, inputs)
    assert model.fresh == ()
    everything = np.ones(got.hidden_states[0].shape[:2])
    assert distance(got.logits, expected.logits.numpy(), np.ones(len(got.logits))) < BOUND
    if labels:
        return
    for ours, other in zip(got.hidden_states, expected.decoder_hidden_states, strict=True):
        assert distance(ours, other.numpy(), everything) < BOUND
    encoder = zip(got.encoder_hidden_states, expected.encoder_hidden_states, strict=True)
    for ours, other in encoder:
        assert distance(ours, other.numpy(), inputs["attention_mask"]) < BOUND


# The cache of the other form is held against its own network.
@pytest.mark.parametrize("case", ["original", pytest.param("1.1", marks=pytest.mark.thorough)])
def test_t5_goes_on_as_theirs_does(case, transformers, tmp_path):
    name, overrides, _ = T5S[case]
    theirs = saved(transformers, name, {**T5, **overrides}, tmp_path)
    inputs = batch(seed=3, length=7)
    _, model = load(tmp_path, labels=0, key=KEY)
    got = greedy(model, inputs, 14, stop=(1,))
    named = fed(inputs, "input_ids", "attention_mask")
    # Their cache has as many layers as the encoder, and this decoder has more.
    same = theirs.generate(**named, max_new_tokens=14, do_sample=False, use_cache=False)
    same = same[:, 1:].numpy()
    np.testing.assert_array_equal(got[:, : same.shape[1]], same)
    assert not got[:, same.shape[1] :].any()
