"""T5: the cache, the two kinds of heads, and what it refuses."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.models import abstract, initialise, load
from finetune.models.modules import head_modules, modules
from finetune.models.registry import read_config
from finetune.models.t5_config import T5Config
from finetune.training.network import from_module
from finetune.weights import saving
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import DATA, T5, T5_CONFIG, pairs, random_model, run, steps

KEY = jax.random.key(0)
NEWER = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


@functools.cache
def t5(**changes):
    return random_model(dataclasses.replace(T5_CONFIG, **changes))


# The original goes on as theirs does in the tests of parity.
@pytest.mark.thorough  # T5 goes on as theirs does in the tests of parity
@pytest.mark.parametrize("changes", [{}, NEWER])
def test_the_cache_changes_nothing(changes):
    model, inputs = t5(**changes), pairs()
    begin, advance = steps(model, 6)
    cache, logits = begin(inputs)
    words, cached = [np.zeros(3, np.int32)], [logits]
    for _ in range(6):
        words.append(np.asarray(logits).argmax(-1).astype(np.int32))
        cache, logits = advance(cache, words[-1])
        cached.append(logits)
    # The cache has read no more than the words before.
    expected = run(model, {**inputs, "decoder_input_ids": np.stack(words, 1)}).logits
    np.testing.assert_allclose(np.stack(cached, 1), expected, atol=2e-5)


@pytest.mark.thorough  # batches of parity are padded
def test_padding_changes_nothing():
    model, inputs = t5(), pairs()
    longer = {k: np.pad(v, [(0, 0), (0, 4)]) for k, v in inputs.items()}
    longer["input_ids"][:, 9:] = 9
    longer["decoder_input_ids"][:, 7:] = 9
    got, expected = (run(model, x).logits[:, :7] for x in (longer, inputs))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_labels_are_needed():
    inputs = {name: leaf for name, leaf in pairs().items() if name != "decoder_input_ids"}
    with pytest.raises(ValueError, match="decoder_input_ids is None; allowed are the labels"):
        run(t5(), inputs)


def test_every_product_goes_through_ops():
    for changes in ({}, NEWER, {"num_labels": 3}):
        model = t5(**changes)
        seen = modules(model)
        leaves = {
            n.rsplit(".", 1)[0]: x for n, x in named_leaves(model).items() if len(x.shape) == 2
        }
        assert {**seen.linear, **seen.embed} == {path: x.shape for path, x in leaves.items()}


def test_adapters_are_in_encoder_and_decoder_alone():
    net = from_module(t5(**NEWER))
    paths = net.adapted()
    # Two blocks of the encoder with 4 + 3 maps, three of the decoder with 8 + 3.
    assert len(paths) == 2 * 7 + 3 * 11 and net.heads == () and net.kind == "encoder_decoder"
    assert "decoder.block.2.layer.1.EncDecAttention.q" in paths and "lm_head" not in paths
    classifier = from_module(t5(num_labels=3))
    assert classifier.heads == ("classification_head",) and classifier.begin is None
    assert len(classifier.adapted()) == 2 * 6 + 3 * 10
    assert all(path.startswith("transformer.") for path in classifier.adapted())


def test_a_row_without_eos_has_no_logits():
    inputs = pairs()
    inputs["input_ids"][inputs["input_ids"] == 1] = 2
    inputs["input_ids"][0, 4] = inputs["input_ids"][0, 6] = 1
    logits = np.asarray(run(t5(num_labels=3), inputs).logits)
    assert np.isfinite(logits[0]).all() and np.isnan(logits[1:]).all()


@pytest.mark.thorough  # of encoders in test_models.py, by the same layers
def test_dropout_needs_a_key():
    model, inputs = t5(num_layers=1, num_decoder_layers=1), pairs()
    key = jax.random.key(0, impl="rbg")
    off, on = run(model, inputs), run(model, inputs, key=key)
    np.testing.assert_array_equal(on.logits, run(model, inputs, key=key).logits)
    assert np.abs(on.logits - off.logits).max() > 1e-3


@pytest.mark.thorough  # of encoders in test_models.py
def test_bfloat16():
    inputs = pairs()
    exact, low = (run(random_model(T5_CONFIG, d), inputs) for d in ("float32", "bfloat16"))
    assert low.logits.dtype == jnp.float32
    assert {h.dtype for h in low.hidden_states} == {jnp.dtype(jnp.bfloat16)}
    error = np.asarray(low.hidden_states[-1], np.float32) - exact.hidden_states[-1]
    assert np.sqrt((error**2).mean()) < 0.06


@pytest.mark.parametrize(
    ("change", "tied"),
    [
        ({}, True),
        ({"tie_word_embeddings": False}, False),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, False),
        ({"tie_word_embeddings": False, "scale_decoder_outputs": False}, False),
        ({"scale_decoder_outputs": True}, True),
    ],
)
def test_both_forms_of_the_head(change, tied, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", **T5, **change}))
    assert read_config(tmp_path, labels=0).tie_word_embeddings is tied


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"tie_word_embeddings": False, "scale_decoder_outputs": True},
            "scale_decoder_outputs is True and tie_word_embeddings is False",
        ),
        ({"feed_forward_proj": "gated-swish"}, "feed_forward_proj is 'gated-swish'; allowed: 'ge"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder is False; allowed: True"),
        ({"relative_attention_num_buckets": 7}, "buckets is 7; allowed are even numbers >= 4"),
        ({"relative_attention_max_distance": 4}, "distance is 4; allowed are integers > 4"),
        ({"eos_token_id": [1, 2]}, "eos_token_id is (1, 2); a classifier reads the state of one"),
    ],
)
def test_refused_entries(change, words, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", **T5, **change}))
    with pytest.raises(ValueError) as error:
        read_config(tmp_path, labels=2)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_published_sizes():
    sizes = {"vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12}
    config = T5Config(num_labels=0, num_heads=12, **sizes)
    net = from_module(abstract(config))
    assert len(net.adapted()) == 192
    assert sum(sum(net.params[f"{p}.weight"].shape) for p in net.adapted()) == 405_504


@pytest.mark.parametrize("changes", [{}, NEWER, {"num_labels": 2}])
def test_saved_and_read_again(changes, tmp_path):
    model = t5(**changes)
    saving.save(tmp_path, model)
    config, again = load(tmp_path, labels=model.config.num_labels, key=KEY)
    assert config == model.config and again.fresh == ()
    for name, leaf in named_leaves(model).items():
        np.testing.assert_array_equal(named_leaves(again)[name].value, leaf.value)


def test_tables_that_stand_there_twice(tmp_path):
    saving.save(tmp_path, t5())
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    copies = {f"{stack}.embed_tokens.weight": tensors["shared.weight"] for stack in T5_STACKS}
    bias = tensors["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    unread = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": bias}
    save_file({**tensors, **copies, **unread, "lm_head.weight": tensors["shared.weight"]}, file)
    assert load(tmp_path, labels=0, key=KEY)[1].fresh == ()
    _, classifier = load(tmp_path, labels=2, key=KEY)
    assert len(classifier.fresh) == 4 and head_modules(classifier) == ("classification_head",)
    # A table under another of its names alone.
    rest = {name: leaf for name, leaf in tensors.items() if name != "shared.weight"}
    save_file({**rest, "encoder.embed_tokens.weight": tensors["shared.weight"]}, file)
    _, again = load(tmp_path, labels=0, key=KEY)
    np.testing.assert_array_equal(again.shared.embedding[...], tensors["shared.weight"])
    save_file({**tensors, "lm_head.weight": tensors["shared.weight"] + 1}, file)
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from shared\.weight"):
        load(tmp_path, labels=0, key=KEY)


T5_STACKS = ("encoder", "decoder")


def test_a_classifier_of_the_reference_model():
    _, model = load(DATA / "t5_gated", labels=2, key=KEY)
    assert head_modules(model) == ("classification_head",)
    assert all(name.startswith("classification_head.") for name in model.fresh)


@pytest.mark.thorough  # of Llama, by the same rules of names: test_llama.py
def test_random_start():
    leaves = named_leaves(initialise(T5_CONFIG, KEY))

    def spread(name):
        return np.std(leaves[f"encoder.block.0.layer.{name}.weight"].value)

    assert spread("0.SelfAttention.q") == pytest.approx((16 * 6) ** -0.5, rel=0.3)
    assert spread("0.SelfAttention.o") == pytest.approx(12**-0.5, rel=0.3)
    assert spread("1.DenseReluDense.wo") == pytest.approx(24**-0.5, rel=0.3)
    assert np.std(leaves["shared.weight"].value) == pytest.approx(1, rel=0.1)
