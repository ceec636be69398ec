"""What every architecture promises, whatever its numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from finetune.models import PLAIN, Ops
from finetune.models.modules import modules
from finetune.weights.naming import named_leaves, rebuild
from tests.finetune.models.tiny import (
    CONFIGS,
    FAST,
    MLP_CONFIG,
    batch,
    model_of,
    random_model,
    run,
    tokens_only,
)

KINDS = tuple(CONFIGS)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind):
    out = run(model_of(kind), batch())
    assert out.logits.shape == (3, 3)
    assert [h.shape for h in out.hidden_states] == [(3, 9, 16)] * 2


def test_token_types_are_optional():
    inputs = batch()
    zeros = {**inputs, "token_type_ids": np.zeros((3, 9), np.int32)}
    del inputs["token_type_ids"]
    model = model_of("bert")
    np.testing.assert_allclose(run(model, inputs).logits, run(model, zeros).logits, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    # With the mean over tokens: every row of the last layer reaches the logits.
    model, inputs = model_of(kind, pooling="mean"), batch()
    longer = {k: np.pad(v, [(0, 0), (0, 4)]) for k, v in inputs.items()}
    # What stands in the padding must not matter either.
    longer["input_ids"][:, 9:] = 9
    np.testing.assert_allclose(run(model, longer).logits, run(model, inputs).logits, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_product_and_look_up_goes_through_ops(kind):
    model = model_of(kind)
    seen = modules(model)
    leaves = {
        name.rsplit(".", 1)[0]: leaf
        for name, leaf in named_leaves(model).items()
        if len(leaf.shape) == 2
    }
    # A path is the place in the tree, and nothing two-dimensional escapes.
    assert {**seen.linear, **seen.embed} == {path: leaf.shape for path, leaf in leaves.items()}
    assert set(seen.linear) == {path for path, leaf in leaves.items() if leaf.transposed}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_a_change_of_the_kernel(kind):
    model, inputs = model_of(kind), batch()
    # The third product of the layer: the value, by one name or another.
    path = [path for path in modules(model).linear if "layer.0" in path][2]
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.normal(size=(16, 1)), jnp.float32)
    b = jnp.asarray(rng.normal(size=(1, 16)), jnp.float32)

    def linear(at, x, kernel):
        y = PLAIN.linear(at, x, kernel)
        return y + (x @ a) @ b if at == path else y

    adapted = run(model, inputs, ops=Ops(linear, PLAIN.embed))
    values = {name: leaf.value for name, leaf in named_leaves(model).items()}
    values[f"{path}.weight"] = values[f"{path}.weight"] + a @ b
    merged = run(rebuild(model, values), inputs)
    np.testing.assert_allclose(adapted.logits, merged.logits, atol=2e-5)
    assert np.abs(adapted.logits - run(model, inputs).logits).max() > 1e-3


# The layers of DistilBERT drop what those of BERT do.
@pytest.mark.parametrize(
    "kind", [k if k == "bert" else pytest.param(k, marks=pytest.mark.thorough) for k in KINDS]
)
def test_dropout_needs_a_key(kind):
    model, inputs = model_of(kind), batch()
    off = run(model, inputs)
    # This kind of key compiles faster; any kind is accepted.
    first, second = (jax.random.key(seed, impl="rbg") for seed in (0, 1))
    once, again = run(model, inputs, key=first), run(model, inputs, key=first)
    other = run(model, inputs, key=second)
    np.testing.assert_array_equal(once.logits, again.logits)
    assert np.abs(once.logits - off.logits).max() > 1e-3
    assert np.abs(once.logits - other.logits).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16(kind):
    inputs = batch()
    exact = run(model_of(kind), inputs)
    low = run(model_of(kind, "bfloat16"), inputs)
    assert low.logits.dtype == jnp.float32
    assert {h.dtype for h in low.hidden_states} == {jnp.dtype(jnp.bfloat16)}
    assert all(jnp.isfinite(h).all() for h in (low.logits, *low.hidden_states))
    # Eight bits: a layer makes some ten roundings of relative size 2^-9 one after the other, and
    # states are normalised to about one: below 0.03 in the mean, with room for the worst entry.
    mask = inputs["attention_mask"].astype(bool)
    for ours, reference in zip(low.hidden_states, exact.hidden_states, strict=True):
        error = (np.asarray(ours, np.float32) - reference)[mask]
        assert np.sqrt((error**2).mean()) < 0.03
        assert tokens_only(ours, reference, mask) < 0.3


def test_gradients_are_finite():
    # DeBERTa contains all that the others do, and padding.
    graphdef, params = nnx.split(model_of("deberta-v2"))

    def loss(params):
        return (nnx.merge(graphdef, params)(batch()).logits ** 2).sum()

    gradient = jax.jit(jax.grad(loss), compiler_options=FAST)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_sequences_end_with_the_position_table(kind):
    with pytest.raises(ValueError, match="length 21; allowed is at most 20"):
        run(model_of(kind), batch(length=21))


def test_float64_where_it_is_asked_for():
    with jax.enable_x64(True):
        out = run(random_model(MLP_CONFIG, "float64"), {"pixels": jnp.ones((2, 12))})
        assert out.logits.dtype == jnp.float64


def test_mlp():
    model = random_model(MLP_CONFIG)
    x = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    y = x.reshape(5, 12)
    for layer in (model.fc1, model.fc2):
        y = np.maximum(y @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...]), 0)
    y = y @ np.asarray(model.fc3.kernel[...]) + np.asarray(model.fc3.bias[...])
    out = run(model, {"pixels": x})
    np.testing.assert_allclose(out.logits, y, atol=1e-6)
    assert [h.shape for h in out.hidden_states] == [(5, 12), (5, 8), (5, 8)]
    with pytest.raises(ValueError, match="pixels have 4 numbers per example; allowed are 12"):
        run(model, {"pixels": np.ones((2, 4), np.float32)})
