"""Llama: reading, the cache, and what it refuses."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models import initialise, load
from finetune.models.llama_config import LlamaConfig
from finetune.models.modules import head_modules, modules
from finetune.models.parts.ops import PLAIN
from finetune.models.registry import read_config
from finetune.tasks.generation import generate
from finetune.training.network import from_module
from finetune.weights import saving
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import (
    DATA,
    LLAMA,
    LLAMA_CONFIG,
    batch,
    greedy,
    random_model,
    run,
    steps,
)

KEY = jax.random.key(0)


@functools.cache
def llama(**changes):
    return random_model(dataclasses.replace(LLAMA_CONFIG, **changes))


@pytest.mark.thorough  # goes on as theirs in the tests of parity
@pytest.mark.parametrize("tied", [False, True])
def test_the_cache_changes_nothing(tied):
    model, inputs = llama(tie_word_embeddings=tied), batch(length=6)
    begin, advance = steps(model, 5)
    cache, logits = begin(inputs)
    # Uncached: every row alone, without padding, read once with all its words (see below).
    sizes = inputs["attention_mask"].sum(1)
    words, cached = [], []
    for _ in range(5):
        cached.append(logits)
        words.append(np.asarray(logits).argmax(-1).astype(np.int32))
        cache, logits = advance(cache, words[-1])
    words, cached = np.stack(words, 1), np.stack(cached, 1)
    for row, (ids, size) in enumerate(zip(inputs["input_ids"], sizes, strict=True)):
        ids = np.append(ids[:size], words[row, :-1])
        alone = {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int32)}
        expected = run(model, alone).logits[0, size - 1 :]
        np.testing.assert_allclose(cached[row], expected, atol=2e-5)


def test_padding_changes_nothing():
    model, inputs = llama(), batch()
    longer = {k: np.pad(v, [(0, 0), (0, 4)]) for k, v in inputs.items()}
    longer["input_ids"][:, 9:] = 9
    seen = inputs["attention_mask"].astype(bool)
    got, expected = (run(model, x).logits[:, :9] for x in (longer, inputs))
    np.testing.assert_allclose(got[seen], expected[seen], atol=1e-5)


def test_no_token_sees_a_later_one():
    model, inputs = llama(), batch()
    changed = {**inputs, "input_ids": inputs["input_ids"].copy()}
    changed["input_ids"][:, 5] = 7
    np.testing.assert_array_equal(
        run(model, changed).logits[:, :5], run(model, inputs).logits[:, :5]
    )


def test_every_product_goes_through_ops():
    for changes in ({}, {"tie_word_embeddings": True}, {"num_labels": 3}):
        model = llama(**changes)
        seen = modules(model)
        leaves = {
            n.rsplit(".", 1)[0]: x for n, x in named_leaves(model).items() if x.value.ndim == 2
        }
        assert {**seen.linear, **seen.embed} == {path: x.shape for path, x in leaves.items()}


def test_adapters_leave_the_vocabulary_out():
    net = from_module(llama())
    assert net.kind == "causal" and net.heads == () and "lm_head" in net.linears
    assert {path.rsplit(".", 1)[1] for path in net.adapted()} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert net.adapted("lm_head") == ("lm_head",)
    classifier = from_module(llama(num_labels=3))
    assert classifier.heads == ("score",) and classifier.begin is None
    assert classifier.adapted() == net.adapted()


@pytest.mark.thorough  # goes on as theirs in the tests of parity
def test_a_network_generates():
    net, inputs = from_module(llama()), batch(length=5)

    def words(params, inputs):
        return generate(
            lambda x: net.begin(params, x, PLAIN, 4),
            lambda cache, tokens: net.advance(params, cache, tokens, PLAIN),
            inputs,
            length=4,
            stop=(),
            pad=0,
        )

    expected = greedy(llama(), inputs, 4)
    np.testing.assert_array_equal(jax.jit(words)(net.params, inputs), expected)


def test_bfloat16():
    inputs = batch()
    exact, low = (run(random_model(LLAMA_CONFIG, d), inputs) for d in ("float32", "bfloat16"))
    assert low.logits.dtype == jnp.float32
    assert {h.dtype for h in low.hidden_states} == {jnp.dtype(jnp.bfloat16)}
    seen = inputs["attention_mask"].astype(bool)
    error = (np.asarray(low.hidden_states[-1], np.float32) - exact.hidden_states[-1])[seen]
    assert np.sqrt((error**2).mean()) < 0.03


def test_dropout_needs_a_key():
    model, inputs = llama(attention_dropout=0.5), batch()
    key = jax.random.key(0, impl="rbg")
    off, on = run(model, inputs), run(model, inputs, key=key)
    np.testing.assert_array_equal(on.logits, run(model, inputs, key=key).logits)
    assert np.abs(on.logits - off.logits).max() > 1e-3


def write(folder, **changes):
    raw = json.loads((DATA / "llama" / "config.json").read_text()) | changes
    raw = {name: value for name, value in raw.items() if value != "absent"}
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


SCALED = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def test_both_forms_of_the_frequencies(tmp_path):
    scaling = {**SCALED, "original_max_position_embeddings": 8192, "rope_type": "llama3"}
    old = {"rope_parameters": "absent", "rope_theta": 5e5, "rope_scaling": scaling}
    new = {"rope_parameters": {**scaling, "rope_theta": 5e5}, "rope_theta": "absent"}
    first, second = (read_config(write(tmp_path, **form), labels=0) for form in (old, new))
    assert first == second and first.rope_parameters.factor == 8.0
    bare = {"rope_parameters": "absent", "rope_theta": "absent"}
    assert read_config(write(tmp_path, **bare), labels=0).rope_parameters.rope_theta == 1e4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attention_bias": True}, "attention_bias is True; allowed: False"),
        ({"mlp_bias": True}, "mlp_bias is True; allowed: False"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3; allowed are divisors of 4"),
        ({"head_dim": 7}, "head_dim is 7; allowed are even numbers"),
        ({"head_dim": None, "hidden_size": 34}, "hidden_size is 34; allowed are multiples of"),
        ({"rope_theta": 5.0}, "rope_theta is 10000.0 and 5.0; allowed is one of them"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_type is 'default' and 'yarn'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'; allowed are 'default'"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor is missing; rope_type 'linear'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, "factor is 0; allowed: numb"),
        ({"rope_parameters": {"factor": 2.0}}, "factor is 2.0, which rope_type 'default' lacks"),
        ({"rope_parameters": {"beta": 2.0}}, "not known here in rope_parameters: beta"),
        ({"eos_token_id": -1}, "eos_token_id is -1; allowed: null, integers >= 0 or lists"),
    ],
)
def test_refused_entries(change, words, tmp_path):
    with pytest.raises(ValueError) as error:
        read_config(write(tmp_path, **change), labels=0)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_other_choices_are_refused():
    with pytest.raises(ValueError, match="num_labels is -1; allowed: integers >= 0"):
        LlamaConfig(num_labels=-1, **LLAMA)
    with pytest.raises(ValueError, match="pooling is 'mean'; allowed: 'cls'"):
        read_config(DATA / "llama", labels=2, pooling="mean")
    with pytest.raises(ValueError, match="num_labels is 0; allowed: integers >= 1"):
        read_config(DATA / "bert", labels=0)


def test_a_classifier_from_a_language_model():
    _, model = load(DATA / "llama", labels=2, key=KEY)
    assert model.fresh == ("score.weight",) and head_modules(model) == ("score",)
    _, words = load(DATA / "llama", labels=0, key=KEY)
    assert head_modules(words) == ()


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, {"num_labels": 2}])
def test_saved_and_read_again(changes, tmp_path):
    model = llama(**changes)
    saving.save(tmp_path, model)
    config, again = load(tmp_path, labels=model.config.num_labels, key=KEY)
    assert config == model.config and again.fresh == ()
    for name, leaf in named_leaves(model).items():
        np.testing.assert_array_equal(named_leaves(again)[name].value, leaf.value)


def test_a_tied_head_is_a_copy(tmp_path):
    from safetensors.numpy import load_file, save_file

    model = llama(tie_word_embeddings=True)
    saving.save(tmp_path, model)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    table = tensors["model.embed_tokens.weight"]
    save_file({**tensors, "lm_head.weight": table}, file)
    assert load(tmp_path, labels=0, key=KEY)[1].fresh == ()
    save_file({**tensors, "lm_head.weight": table + 1}, file)
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from model\.embed_tokens\.we"):
        load(tmp_path, labels=0, key=KEY)


def test_untied_needs_its_head(tmp_path):
    from safetensors.numpy import load_file, save_file

    saving.save(tmp_path, llama())
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["lm_head.weight"]
    # Buffers that old files carry along.
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)
    save_file(tensors, file)
    with pytest.raises(ValueError, match=r"Llama:\n  lm_head\.weight is missing$"):
        load(tmp_path, labels=0, key=KEY)


def test_random_start():
    leaves = named_leaves(initialise(LLAMA_CONFIG, KEY))
    assert 0.015 < float(leaves["model.embed_tokens.weight"].value.std()) < 0.025
    assert (leaves["model.norm.weight"].value == 1).all()
