"""Each layer against its formula in numpy."""

import functools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models.parts.heads import Pooler, pool, vocabulary
from finetune.models.parts.layers import (
    ACTIVATIONS,
    Embedding,
    LayerNorm,
    Linear,
    attend,
    dropout,
    fork,
    positions,
    scores,
)
from finetune.models.parts.ops import PLAIN, Ops

KEY = jax.random.key(0)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_gelu_is_the_exact_one():
    x = np.linspace(-4, 4, 41, dtype=np.float32)
    exact = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()])
    assert np.abs(ACTIVATIONS["gelu"](x) - exact).max() < 1e-6
    # The tanh approximation is off by 5e-4: the two cannot be mistaken for each other.
    assert np.abs(ACTIVATIONS["gelu_new"](x) - exact).max() > 1e-4


@pytest.mark.parametrize("name", ["gelu", "gelu_new"])
def test_gelu_keeps_its_input_alone(name):
    x = jnp.asarray(4 * normal(5, 7))
    plain = functools.partial(jax.nn.gelu, approximate=name == "gelu_new")
    value, back = jax.vjp(ACTIVATIONS[name], x)
    kept = [leaf for leaf in jax.tree.leaves(back) if jnp.shape(leaf) == x.shape]
    assert len(kept) == 1 and kept[0] is x
    expected, plain_back = jax.vjp(plain, x)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    g = jnp.asarray(normal(5, 7, seed=1))
    np.testing.assert_allclose(back(g)[0], plain_back(g)[0], atol=1e-6)


def test_linear_goes_through_ops():
    layer = Linear("a.b", 3, 2)
    layer.kernel[...] = jnp.asarray(normal(3, 2))
    layer.bias[...] = jnp.asarray(normal(2, seed=1))
    x = normal(5, 3, seed=2)
    plain = x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
    np.testing.assert_allclose(layer(jnp.asarray(x), PLAIN), plain, atol=1e-6)

    def twice(path, x, kernel):
        assert path == "a.b"
        return 2 * PLAIN.linear(path, x, kernel)

    changed = layer(jnp.asarray(x), Ops(twice, PLAIN.embed))
    np.testing.assert_allclose(changed, 2 * plain - layer.bias[...], atol=1e-6)
    assert layer(jnp.asarray(x, jnp.bfloat16), PLAIN).dtype == jnp.bfloat16


def test_embedding_goes_through_ops():
    layer = Embedding("table", 4, 2)
    layer.embedding[...] = jnp.asarray(normal(4, 2))
    ids = jnp.array([[3, 0], [1, 1]])
    np.testing.assert_array_equal(layer(ids, PLAIN), layer.embedding[...][ids])

    def zero(path, ids, table):
        return jnp.zeros((*ids.shape, table.shape[1]), table.dtype)

    assert not layer(ids, Ops(PLAIN.linear, zero)).any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layer_norm(dtype):
    layer = LayerNorm(8, 1e-5, dtype)
    layer.scale[...] = jnp.asarray(normal(8, seed=3))
    layer.bias[...] = jnp.asarray(normal(8, seed=4))
    # A large mean: the squares would lose everything if they were taken before centring.
    x = jnp.asarray(100 + normal(6, 8), dtype)
    y = np.asarray(x, np.float64)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
    y = y * np.asarray(layer.scale[...]) + np.asarray(layer.bias[...])
    got = layer(x)
    assert got.dtype == dtype
    # Computed in float32 in both cases, then rounded once to the compute dtype.
    rounding = {"float32": 2e-4, "bfloat16": 2**-8 * np.abs(y).max()}[dtype]
    assert np.abs(np.asarray(got, np.float64) - y).max() < rounding


def test_dropout():
    x = jnp.ones((200, 200))
    assert dropout(x, 0.3, None) is x
    assert dropout(x, 0.0, KEY) is x
    y = dropout(x, 0.3, KEY)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    # 40000 entries: the mean is within 4 standard errors of 1.
    assert abs(float(y.mean()) - 1) < 4 * math.sqrt(0.3 / 0.7 / 40000)
    assert fork(None, 2) == (None, None)
    assert len({str(jax.random.key_data(k)) for k in fork(KEY, 3)}) == 3


def test_attend():
    query, key, value = (jnp.asarray(normal(2, 5, 3, 4, seed=s)) for s in (1, 2, 3))
    mask = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    raw = scores("blhk,bmhk->bhlm", query, key)
    got = attend(raw, value, jnp.asarray(mask), 0.0, None)
    weights = np.where(mask[:, None, None, :] == 1, np.asarray(raw, np.float64), -np.inf)[0]
    weights = np.exp(weights - weights.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("hlm,mhk->lhk", weights, np.asarray(value)[0]).reshape(5, 12)
    np.testing.assert_allclose(got[0], expected, atol=1e-6)
    # A sequence of padding alone stays finite: it attends to all alike.
    np.testing.assert_allclose(got[1, 0], np.asarray(value)[1].mean(0).reshape(12), atol=1e-6)


def test_attend_keeps_one_array_of_weights():
    raw, value = jnp.asarray(normal(2, 3, 5, 5)), jnp.asarray(normal(2, 5, 3, 4, seed=1))
    mask = jnp.ones((2, 5), bool)
    _, back = jax.vjp(lambda *at: attend(*at, mask, 0.0, None), raw, value)
    leaves = [leaf for leaf in jax.tree.leaves(back) if jnp.size(leaf) == raw.size]
    floats = [np.asarray(leaf).ravel() for leaf in leaves if leaf.dtype == raw.dtype]
    floats = [leaf for leaf in floats if leaf.any()]  # zeros are constants of the program
    assert floats and all((leaf == floats[0]).all() for leaf in floats)


@hypothesis.settings(deadline=None, max_examples=5, derandomize=True)
@hypothesis.given(
    sizes=st.tuples(*[st.integers(1, 4)] * 4),
    groups=st.integers(1, 2),
    rate=st.sampled_from([0, 0.5]),
)
def test_attend_is_the_product_with_a_softmax(sizes, groups, rate):
    size, length, heads, width = sizes
    raw = 8 * normal(size, heads * groups, length, length)
    value = normal(size, length, heads, width, seed=1)
    mask = normal(size, length, seed=2) > 0

    def plain(raw, value):
        seen = jnp.where(mask[:, None, None, :], raw, jnp.finfo(raw.dtype).min)
        weights = dropout(jax.nn.softmax(seen, axis=-1), rate, KEY)
        value = jnp.repeat(value, groups, axis=2)
        return jnp.einsum("bhlm,bmhk->blhk", weights, value).reshape(size, length, -1)

    @jax.jit
    def both(raw, value):
        got, back = jax.vjp(lambda *at: attend(*at, mask, rate, KEY), raw, value)
        expected, plain_back = jax.vjp(plain, raw, value)
        return (got, expected), (back(got), plain_back(got))

    (got, expected), (back, plain_back) = both(raw, value)
    # Sums of at most 4 numbers of size 3, in another order.
    np.testing.assert_allclose(got, expected, atol=5e-6)
    for one, other in zip(back, plain_back, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-5)


def test_scores_keep_float32():
    x = jnp.asarray(normal(1, 2, 1, 64), jnp.bfloat16)
    assert scores("blhk,bmhk->bhlm", x, x).dtype == jnp.float32
    mask = jnp.zeros((1, 2), jnp.int32)
    low = attend(scores("blhk,bmhk->bhlm", x, x), x, mask, 0.0, None)
    assert low.dtype == jnp.bfloat16
    assert jnp.isfinite(low).all()


def test_positions_end_with_the_table():
    np.testing.assert_array_equal(positions(3, 3), [0, 1, 2])
    with pytest.raises(ValueError, match="input_ids have length 4; allowed is at most 3"):
        positions(4, 3)


def test_pooling():
    hidden = jnp.asarray(normal(2, 3, 4), jnp.bfloat16)
    mask = jnp.array([[1, 1, 0], [0, 0, 0]])
    first = pool(hidden, mask, "cls")
    assert first.dtype == jnp.float32
    np.testing.assert_array_equal(first, hidden[:, 0].astype(jnp.float32))
    mean = pool(hidden, mask, "mean")
    np.testing.assert_allclose(mean[0], np.asarray(hidden, np.float32)[0, :2].mean(0), atol=1e-6)
    assert not mean[1].any()


def test_a_single_row_of_the_vocabulary():
    """It is computed as E x and not as x E^T."""
    table, x = Embedding("t", 5, 3), normal(2, 3)
    table.embedding[...] = normal(5, 3, seed=1)
    expected = np.asarray(x) @ np.asarray(table.embedding[...]).T
    for given, logits in ((x, expected), (x[:1], expected[:1]), (x[0], expected[0])):
        np.testing.assert_allclose(vocabulary(given, table), logits, atol=1e-6)
    assert vocabulary(x[0].astype(jnp.bfloat16), table).dtype == jnp.float32


def test_pooler():
    pooler = Pooler("pooler", 4, "tanh")
    pooler.dense.bias[...] = jnp.ones(4)
    np.testing.assert_allclose(pooler(jnp.ones((2, 4)), PLAIN), np.tanh(1.0), atol=1e-6)
