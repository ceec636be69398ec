"""Mistral and Qwen, which are Llamas with options: files, windows, what they refuse."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from finetune.models import load
from finetune.models.llama_config import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from finetune.models.registry import read_config
from finetune.weights import saving
from finetune.weights.naming import named_leaves
from tests.finetune.models.test_language_parity import BOUND, fed, reference
from tests.finetune.models.tiny import LLAMA, batch, random_model, run, steps, tokens_only

KEY = jax.random.key(0)
SIZES = {**LLAMA, "num_hidden_layers": 1}
LATE = {"num_hidden_layers": 2, "max_window_layers": 1}
CONFIGS = {
    "mistral": MistralConfig(num_labels=0, sliding_window=3, **SIZES),
    "qwen2": Qwen2Config(
        num_labels=0, use_sliding_window=True, sliding_window=3, **{**SIZES, **LATE}
    ),
    "qwen3": Qwen3Config(num_labels=0, head_dim=6, **SIZES),
}
BESIDE_LLAMAS = {
    "mistral": set(),
    "qwen2": {f"{letter}_proj.bias" for letter in "qkv"},
    "qwen3": {"q_norm.weight", "k_norm.weight"},
}


@functools.cache
def model_of(kind):
    return random_model(CONFIGS[kind])


@pytest.mark.parametrize("kind", CONFIGS)
def test_names(kind):
    """Llama's, and those of the options."""
    config = CONFIGS[kind]
    names = {name for name in named_leaves(model_of(kind)) if ".layers.1." not in name}
    llama = set(named_leaves(random_model(LlamaConfig(num_labels=0, **SIZES))))
    more = {f"model.layers.0.self_attn.{name}" for name in BESIDE_LLAMAS[config.model_type]}
    assert names == llama | more


@pytest.mark.parametrize("kind", CONFIGS)
def test_saved_and_read_again(kind, tmp_path):
    model = model_of(kind)
    saving.save(tmp_path, model)
    config, again = load(tmp_path, labels=0, key=KEY)
    assert config == model.config and again.fresh == ()
    for name, leaf in named_leaves(model).items():
        np.testing.assert_array_equal(named_leaves(again)[name].value, leaf.value)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("bare", [pytest.param(False, marks=pytest.mark.thorough), True])
def test_transformers_reads_what_is_saved(kind, bare, transformers, tmp_path):
    model = model_of(kind)
    if bare:  # what is None is written as such where transformers would put a number
        changes = {"num_key_value_heads": None, "sliding_window": None} | (
            {"use_sliding_window": False} if kind != "mistral" else {"head_dim": None}
        )
        model = random_model(dataclasses.replace(model.config, **changes, num_hidden_layers=1))
    saving.save(tmp_path, model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    inputs = batch()
    expected = reference(theirs, fed(inputs, "input_ids", "attention_mask")).logits.numpy()
    assert tokens_only(run(model, inputs).logits, expected, inputs["attention_mask"]) < BOUND


def test_the_cache_has_windows_of_tokens_not_of_slots():
    """Rows of different lengths: padding lies between a row's prompt and its new tokens."""
    model, inputs = model_of("mistral"), batch(length=6)
    begin, advance = steps(model, 5)
    cache, logits = begin(inputs)
    sizes = inputs["attention_mask"].sum(1)
    words, cached = (3, 5, 8, 13), [logits]
    for word in words[:-1]:
        cache, logits = advance(cache, np.full(3, word, np.int32))
        cached.append(logits)
    for row, (ids, size) in enumerate(zip(inputs["input_ids"], sizes, strict=True)):
        ids = np.append(ids[:size], words[:-1]).astype(np.int32)
        alone = {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int32)}
        expected = run(model, alone).logits[0, size - 1 :]
        np.testing.assert_allclose([logits[row] for logits in cached], expected, atol=BOUND)


def write(folder, kind, **changes):
    entries = {**SIZES, "model_type": kind, **changes}
    (folder / "config.json").write_text(json.dumps(entries))
    return folder


def test_defaults_are_those_of_transformers(tmp_path):
    sizes = {"num_attention_heads": 32, "hidden_size": 64}
    sizes |= {"num_key_value_heads": None, "head_dim": None}
    config = read_config(write(tmp_path, "mistral"), labels=0)
    assert config.windows == (4096,)
    config = read_config(write(tmp_path, "qwen2", **sizes), labels=0)
    assert (config.windows, config.groups, config.size) == ((None,), 32, 2)
    assert read_config(write(tmp_path, "qwen3"), labels=0).size == 128


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("mistral", {"sliding_window": 0}, "sliding_window is 0; allowed: null or integers >= 1"),
        ("mistral", {"attention_bias": True}, "attention_bias is True; allowed: False"),
        ("qwen2", {"layer_types": ["linear_attention"]}, "allowed: null or lists of full_att"),
        ("qwen2", {"layer_types": ["full_attention"] * 2}, "has 2 entries; allowed are 1, one"),
        ("qwen3", {"layer_types": ["sliding_attention"]}, "allowed with use_sliding_window"),
        ("qwen3", {"attention_bias": True}, "attention_bias is True; allowed: False"),
        ("qwen3", {"num_experts": 8}, "num_experts is 8; allowed: null or false"),
    ],
)
def test_refused_entries(kind, change, words, tmp_path):
    with pytest.raises(ValueError) as error:
        read_config(write(tmp_path, kind, **change), labels=0)
    assert words in str(error.value) and "\n" not in str(error.value)
