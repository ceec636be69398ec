"""What an adapted model offers: growth, files, merging, binding, randomness, transformations."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec
from orbax.checkpoint import v1 as ocp

import finetune
from finetune.host.adapting import adapt
from tests.finetune.host.own_models import CLASSES, FEATURES, loss, model, net, rows, tokens

KEY = jax.random.key(0)
thorough = functools.partial(pytest.param, marks=pytest.mark.thorough)


def trained(tuned, batch, steps, state=None):
    state = tuned.init(KEY, [batch]) if state is None else state
    for _ in range(steps):
        state, _ = tuned.step(state, batch)
    return state


def same(got, expected):
    def equal(a, b):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(equal, got, expected)


def test_the_names_of_the_package():
    assert finetune.adapt is adapt
    assert len(finetune.METHODS) == 26
    assert finetune.State._fields[0] == "theta"


@pytest.mark.thorough  # test_gradient_pass.py
def test_the_first_gradient_is_that_of_as_many_batches_as_are_asked_for():
    """The step of method onestep is minus the mean gradient of the rows."""

    def step(batches, **options):
        options = {"rank": 0, "step_size": 1.0, **options}
        tuned = adapt(loss, net(), rows(), "onestep", steps=4, **options)
        return tuned.init(KEY, batches).theta["w"]["delta"]

    first, short = rows(), jax.tree.map(lambda leaf: leaf[:2] * 2, rows())
    share = 2 / (2 + len(jax.tree.leaves(first)[0]))
    wanted = (1 - share) * step([first]) + share * step([short])
    without_end = itertools.chain([first, short], itertools.repeat(first))
    np.testing.assert_allclose(step(without_end, gradient_batches=2), wanted, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(step([first, short]), step([first, short], gradient_batches=2))
    np.testing.assert_array_equal(step([first, short], gradient_batches=1), step([first]))


@pytest.mark.thorough  # AdaPaD has tests of its own
def test_ranks_grow_within_one_compilation():
    """Rank one in every module at first, two more components every three steps."""
    batch = rows()
    tuned = adapt(loss, net(), batch, "adapad", steps=20, rank=3, budget=7, every=3, grow=2)
    state, sums = tuned.init(KEY), []
    for _ in range(8):
        state, _ = tuned.step(state, batch)
        sums.append(sum(tuned.ranks(state).values()))
    assert sums == [3, 3, 5, 5, 5, 7, 7, 7]
    assert tuned._compiled._cache_size() == 1
    assert set(tuned.ranks(state)) == {"fc1", "fc2", "w"}
    assert "fc1.kernel" in repr(tuned)


@pytest.mark.thorough  # our own files are held below
def test_a_state_goes_through_orbax_and_on(tmp_path):
    batch = rows()
    tuned = adapt(loss, net(), batch, "adalora", steps=16, rank=2)
    half = trained(tuned, batch, 4)
    plain = half._replace(key=jax.random.key_data(half.key))
    ocp.save(tmp_path / "state", plain)
    read = ocp.load(tmp_path / "state", plain)
    whole = trained(tuned, batch, 4, half)
    again = trained(tuned, batch, 4, read._replace(key=jax.random.wrap_key_data(read.key)))
    same(again, whole)


@pytest.mark.parametrize("method", ["galore", "full", *map(thorough, ("dora", "adapad"))])
def test_the_merged_model_is_one_of_the_readers(method):
    given, batch = net(), rows()
    before = jax.tree.map(jnp.copy, nnx.state(given))
    tuned = adapt(loss, given, batch, method, steps=20, train=("fc2.bias",))
    state = trained(tuned, batch, 3)
    merged = tuned.merge(state)
    assert type(merged) is type(given)
    np.testing.assert_allclose(loss(merged, batch), tuned.bind(loss)(state, batch), rtol=1e-6)
    assert float(loss(merged, batch)) < float(loss(given, batch))
    assert np.any(merged.fc2.bias[...] != given.fc2.bias[...])
    same(nnx.state(given), before)


def test_a_stacked_model_is_merged():
    given, batch = model("scanned"), tokens()
    tuned = adapt(loss, given, batch, "lora", steps=10, rank=1, modules="up|down")
    state = trained(tuned, batch, 2)
    assert list(tuned.ranks(state)) == [f"blocks.{i}.{n}" for i in (0, 1) for n in ("down", "up")]
    assert tuned.parameters(state) == 2 * 2 * (8 + 12)
    merged = tuned.merge(state)
    bound = jax.jit(tuned.bind(loss))
    np.testing.assert_allclose(jax.jit(loss)(merged, batch), bound(state, batch), rtol=1e-6)


def test_kernels_too_short_for_the_change_are_not_merged():
    given, batch = jax.tree.map(lambda w: w.astype(jnp.bfloat16), net()), rows()

    def wide(model, batch):
        return loss(model, batch).astype(jnp.float32)

    tuned = adapt(wide, given, batch, "lora", steps=20, rank=2, learning_rate=1e-3)
    state = trained(tuned, batch, 2)
    with pytest.raises(ValueError, match=r"bfloat16 kernels would lose \d+% of the change"):
        tuned.merge(state)
    merged = tuned.merge(state, jnp.float32)
    assert merged.fc1.kernel.dtype == jnp.float32
    np.testing.assert_allclose(wide(merged, batch), tuned.bind(wide)(state, batch), rtol=1e-2)
    assert tuned.merge(state, jnp.bfloat16).fc1.kernel.dtype == jnp.bfloat16
    for dtype in (jnp.int32, "float9"):
        with pytest.raises(ValueError, match="allowed are types of floating numbers"):
            tuned.merge(state, dtype)


def test_a_loss_with_a_key():
    def noisy(model, batch, key):
        x = batch["x"] + jax.random.normal(key, batch["x"].shape)
        return loss(model, {**batch, "x": x})

    batch = rows()
    tuned = adapt(noisy, net(), batch, "lora", steps=20, rank=1, learning_rate=1e-9)
    losses = []
    for key in (0, 0, 1):
        state = tuned.init(jax.random.key(key))
        own = []
        for _ in range(2):
            state, metrics = tuned.step(state, batch)
            own.append(float(metrics["loss"]))
        losses.append(own)
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][0] != losses[0][1]


class Dropped(nnx.Module):
    def __init__(self, rngs):
        self.fc = nnx.Linear(FEATURES, CLASSES, rngs=rngs)
        self.dropout, self.norm = nnx.Dropout(0.5, rngs=rngs), nnx.BatchNorm(FEATURES, rngs=rngs)

    def __call__(self, x):
        return self.fc(self.dropout(self.norm(x)))


def test_streams_of_dropout_advance_and_the_model_stays():
    given, batch = Dropped(nnx.Rngs(0)), rows()
    given.norm.use_running_average = True
    before = jax.tree.map(jnp.copy, nnx.state(given))
    tuned = adapt(loss, given, batch, "lora", steps=20, rank=1, learning_rate=1e-9)

    def two():
        state = tuned.init(KEY)
        state, first = tuned.step(state, batch)
        return float(first["loss"]), float(tuned.step(state, batch)[1]["loss"])

    first, second = two()
    assert first != second
    assert two() == (first, second)
    same(nnx.state(given), before)


def test_a_head_of_ones_own_is_trained_whole():
    batch = rows()
    tuned = adapt(loss, net(), batch, "lora", steps=20, rank=1, train=("^w$",))
    assert set(tuned.modules) == {"fc1.kernel", "fc2.kernel"}
    state = trained(tuned, batch, 2)
    assert set(state.head) == {"w"}
    assert np.any(state.head["w"] != tuned.base["w"])
    assert tuned.parameters(state) == state.head["w"].size + sum((6 + 8, 8 + 8))


@pytest.mark.thorough  # training/test_step.py adds parts up
def test_parts_of_a_batch_give_the_step_of_the_whole():
    batch = rows()
    whole, parts = (
        adapt(loss, net(), batch, "lora", steps=20, rank=2, accumulate=count) for count in (1, 3)
    )
    got, expected = trained(parts, batch, 1), trained(whole, batch, 1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), got.opt, expected.opt
    )


@pytest.mark.thorough  # parts and devices: training/
def test_update_under_vmap_and_shard_map():
    batch = rows(24)
    tuned = adapt(loss, net(), rows(12), "lora", steps=20, rank=2, clip=0.0)
    state = tuned.init(KEY)
    halves = jax.tree.map(lambda leaf: leaf.reshape(2, 12, *leaf.shape[1:]), batch)
    update = jax.vmap(lambda part: tuned.update(state, tuned.base, part)[1]["loss"])
    losses = jax.jit(update)(halves)
    bound = jax.jit(tuned.bind(loss))
    for number in range(2):
        part = jax.tree.map(lambda leaf, n=number: leaf[n], halves)
        np.testing.assert_allclose(losses[number], bound(state, part), rtol=1e-6)

    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, rows_of = PartitionSpec(), PartitionSpec("data")

    def mean(theta, batch):
        value = bound(state._replace(theta=theta), batch)
        return jax.lax.pmean(value, "data")

    dealt = jax.shard_map(mean, mesh=mesh, in_specs=(everywhere, rows_of), out_specs=everywhere)
    got = jax.jit(jax.grad(dealt))(state.theta, batch)
    whole = jax.grad(lambda theta: bound(state._replace(theta=theta), batch))
    expected = jax.jit(whole)(state.theta)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), got, expected)


def test_a_part_of_the_model_that_is_compiled_for_itself():
    class Jitted(nnx.Module):
        def __init__(self):
            self.inner = net()

        def __call__(self, x):
            return nnx.jit(lambda inner, x: inner(x))(self.inner, x)

    given, batch = Jitted(), rows()
    tuned = adapt(loss, given, batch, "lora", steps=20, rank=1, modules="fc")
    state = trained(tuned, batch, 2)
    assert list(tuned.ranks(state)) == ["inner.fc1", "inner.fc2"]
    np.testing.assert_allclose(
        loss(tuned.merge(state), batch), tuned.bind(loss)(state, batch), rtol=1e-6
    )


@pytest.mark.thorough  # rows and products of tables: test_discovery.py
def test_a_table_with_two_uses():
    """Rows by the method, the product with its transpose by the changed table."""
    batch, given = tokens(), model("listed")
    tuned = adapt(loss, given, batch, "lora", steps=20, rank=2, modules="embed", learning_rate=0.1)
    state = trained(tuned, batch, 2)
    value, plain = jax.jit(tuned.bind(loss))(state, batch), jax.jit(loss)
    np.testing.assert_allclose(plain(tuned.merge(state), batch), value, rtol=1e-5)
    assert float(value) < float(plain(given, batch))


def test_a_policy_of_remat_is_kept():
    batch = rows()

    weights = {"w": jnp.ones((FEATURES, CLASSES))}

    def own(model, batch):
        policy = jax.checkpoint_policies.dots_saveable
        return jax.checkpoint(lambda w: jnp.mean((batch["x"] @ w) ** 2), policy=policy)(model["w"])

    tuned = adapt(own, weights, batch, "lora", steps=20, rank=1)
    state = tuned.init(KEY)
    traced = jax.make_jaxpr(tuned.bind(own))(state, batch)
    inner = traced.jaxpr.eqns[0].params["jaxpr"].jaxpr
    (result,) = [e for e in inner.eqns if e.primitive.name in ("checkpoint", "remat", "remat2")]
    assert result.params["policy"] is jax.checkpoint_policies.dots_saveable
