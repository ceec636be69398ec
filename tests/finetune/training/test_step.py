"""One step: clipping, accumulation, dropout, the regulariser, and the parts it is made of."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from finetune import optimiser
from finetune.adapters.method import Refused
from finetune.models import PLAIN
from finetune.training import adapter_files, network, step
from finetune.training.step import StepConfig, advance, objective, predict
from tests.finetune.training import small

SGD = optimiser.OptimiserConfig(
    name="sgd", learning_rate=0.1, schedule="constant", warmup=0, clip=0
)


run_of = functools.cache(small.Run)


def close(left, right, tolerance=1e-6):
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance)


def moved(state):
    return state.theta, state.head


@pytest.mark.parametrize("name", ["lora", pytest.param("parallel", marks=pytest.mark.thorough)])
def test_parts_of_a_batch_add_up_to_the_batch(name):
    # Rows that only fill the last batch of an epoch make the parts weigh differently.
    batch = small.task().batch("train", 0, 6, 6)
    assert batch["weight"].tolist() == [1, 1, 1, 1, 0, 0]
    states = []
    for accumulate in (1, 3):
        run = run_of(name, options=SGD, settings=StepConfig(0.0, accumulate))
        states.append(run.step(run.first, run.net.params, batch)[0])
    close(moved(states[0]), moved(states[1]))


def test_the_gradient_is_clipped_over_adapter_and_head_together():
    moves = []
    for clip in (0.0, 1e-3):
        run = run_of("lora", options=SGD, settings=StepConfig(clip, 1))
        state, metrics = run.step(run.first, run.net.params, run.batch(0, size=6))
        moves.append(jax.tree.map(jnp.subtract, moved(state), moved(run.first)))
    np.testing.assert_allclose(optax.tree.norm(moves[1]), 1e-4, rtol=1e-3)
    size = optax.tree.norm(moves[0])
    np.testing.assert_allclose(metrics["gradient_norm"], size / 0.1, rtol=1e-3)
    close(jax.tree.map(lambda leaf: leaf * 1e-4 / size, moves[0]), moves[1])


def test_the_regulariser_acts_on_theta_alone():
    plain = small.Run("lora", options=SGD)
    pull = dataclasses.replace(
        plain.method, regulariser=lambda theta, aux: jnp.sum(theta["fc1"]["a"] ** 2) / 2
    )
    other = small.Run("lora", options=SGD, method=pull)
    settings = StepConfig(0.0)
    for run in (plain, other):
        run.plain = small.step.train_step(
            run.net, run.method, run.task.loss, optimiser.optimiser(SGD, 12), settings
        )
    one, two = (run.step(run.first, run.net.params, run.batch(0))[0] for run in (plain, other))
    a = plain.first.theta["fc1"]["a"]
    np.testing.assert_allclose(two.theta["fc1"]["a"], one.theta["fc1"]["a"] - 0.1 * a, atol=1e-6)
    close(one.head, two.head)


def test_adapter_dropout_depends_on_the_step_only():
    run = small.Run("lora", settings=StepConfig(adapter_dropout=0.5))
    key = jax.random.key(0)
    theta = jax.tree.map(lambda leaf: leaf + 0.1, run.first.theta)

    @functools.partial(jax.jit, static_argnums=1)
    def loss(seed, rate):
        target = objective(
            run.net,
            run.method,
            run.task.loss,
            run.paths,
            run.net.params,
            run.batch(0),
            StepConfig(adapter_dropout=rate),
            jax.random.fold_in(key, seed),
        )
        return target.loss(theta, run.first.aux, run.first.head)

    values = [float(loss(*one)) for one in ((0, 0.5), (0, 0.5), (1, 0.5), (0, 0.0))]
    assert values[0] == values[1] and len(set(values)) == 3
    assert np.isfinite(float(run.step(run.first, run.net.params, run.batch(0))[1]["loss"]))


def test_the_dense_gradient_is_a_derivative_by_the_kernels():
    run = run_of("lora")
    target = objective(
        run.net,
        run.method,
        run.task.loss,
        run.paths,
        run.net.params,
        run.batch(0),
        StepConfig(),
        None,
    )
    theta, aux, head = run.first.theta, run.first.aux, run.first.head
    dense = jax.jit(jax.grad(lambda kernels: target.loss(theta, aux, head, kernels)))
    params = run.net.params

    def written_out(kernels):
        x = run.batch(0)["pixels"]
        hidden = jax.nn.relu(x @ kernels["fc1"] + params["fc1.bias"])
        hidden = jax.nn.relu(hidden @ kernels["fc2"] + params["fc2.bias"])
        logits = hidden @ head["fc3.weight"] + head["fc3.bias"]
        return run.task.loss(logits, run.batch(0)["labels"], run.batch(0)["weight"])

    close(dense(target.kernels()), jax.jit(jax.grad(written_out))(run.kernels))


def test_a_method_may_bring_its_own_step():
    run = run_of("lora")
    theta, aux, head = run.first.theta, run.first.aux, run.first.head

    def build(pieces):
        assert pieces.clip == 0.5 and pieces.accumulate == 1

        def step(state, params, batch):
            target = pieces.objective(run.paths, params, batch, state.key)
            return state, {"loss": target.loss(theta, aux, head)}

        return step

    own = dataclasses.replace(run.method, step=build)
    made = small.step.train_step(run.net, own, run.task.loss, optax.identity(), StepConfig(0.5))
    state, metrics = made(run.first, run.net.params, run.batch(0))
    assert state is run.first
    expected = run.step(run.first, run.net.params, run.batch(0))[1]["loss"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)


def test_what_is_exported_is_what_predicts(tmp_path):
    run = small.Run("adapad")
    state = run.states()[-1]
    adapter = adapter_files.exported(run.method, state, run.kernels, {"base": "x"})
    adapter_files.save(tmp_path / "a.safetensors", adapter)
    loaded = adapter_files.load(tmp_path / "a.safetensors")
    assert loaded.about["base"] == "x" and loaded.about["ranks"] == adapter.ranks
    assert loaded.ranks == adapter.ranks and loaded.parameters == adapter.parameters
    params = {**run.net.params, **loaded.head}
    for path, change in loaded.modules.items():
        params[f"{path}.weight"] = params[f"{path}.weight"] + change.a @ change.b
    plain = run.net.forward(params, run.batch(0), PLAIN, None)
    ours = predict(run.net, run.method)(
        state.theta, state.aux, state.head, run.net.params, run.batch(0)
    )
    np.testing.assert_allclose(plain, ours, atol=1e-5)
    again = adapter_files.exported(run.method, state, run.kernels, {"base": "x"})
    adapter_files.save(tmp_path / "b.safetensors", again)
    one, two = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "ab")
    assert one == two


def test_a_module_that_cannot_be_exported_is_named():
    run = run_of("lora")
    method = dataclasses.replace(run.method, export=lambda *_: Refused("it is no sum"))
    with pytest.raises(ValueError, match="module fc1 cannot be exported: it is no sum"):
        adapter_files.exported(method, run.first, run.kernels, {})


def test_what_is_no_adapter_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no adapter of this program"):
        adapter_files.load(path)
    with pytest.raises(ValueError, match="is no adapter of this program"):
        adapter_files.load(tmp_path / "absent")


def test_which_modules_are_adapted():
    net = small.net()
    assert net.adapted() == ("fc1", "fc2") and net.adapted("fc[13]") == ("fc1", "fc3")
    assert set(net.head()) == {"fc3.weight", "fc3.bias"}
    with pytest.raises(ValueError, match="modules is 'query', which no linear map matches"):
        net.adapted("query")
    with pytest.raises(ValueError, match="no regular expression"):
        net.adapted("(")


def test_a_frozen_random_head_is_another_one_and_the_digest_sees_it():
    plain, fresh = small.net(), small.net(head="frozen_random")
    differ = [n for n in plain.params if not np.array_equal(plain.params[n], fresh.params[n])]
    assert differ == ["fc3.weight"]
    assert network.digest(plain.params) != network.digest(fresh.params)
    assert network.digest(plain.params) == network.digest(dict(reversed(plain.params.items())))


def test_rates_rise_and_fall():
    config = optimiser.OptimiserConfig(learning_rate=2.0, warmup=0.2, schedule="cosine")
    rates = [float(optimiser.rate(config, step, 10)) for step in range(11)]
    np.testing.assert_allclose(rates[:3], [1.0, 2.0, 2.0])
    np.testing.assert_allclose([rates[6], rates[10]], [1.0, 0.0], atol=1e-6)
    assert np.all(np.diff(rates[2:]) < 0)


@pytest.mark.parametrize("name", ["learning_rate", "warmup", "clip"])
def test_an_optimiser_outside_its_range_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is -1"):
        optimiser.OptimiserConfig(**{name: -1})


def test_a_method_with_a_step_of_its_own_is_no_part_of_another():
    run = small.Run("lora", options=SGD)
    method = dataclasses.replace(run.method, step=lambda pieces: None)
    with pytest.raises(ValueError, match="'lora' has a step of its own; use `train_step`"):
        advance(method, None, run.first, optax.identity())


def test_the_two_dropouts_have_keys_of_their_own(monkeypatch):
    run, seen = run_of("lora"), {}

    def forward(params, inputs, ops, key):
        seen["model"] = key
        return run.net.forward(params, inputs, ops, None)

    def path_key(key, path):
        seen["adapter"] = key
        return original(key, path)

    original = step.path_key
    monkeypatch.setattr(step, "path_key", path_key)
    net = types.SimpleNamespace(forward=forward, kernels=run.net.kernels, states=None)
    config = StepConfig(dropout=True, adapter_dropout=0.5)
    target = objective(
        net,
        run.method,
        run.task.loss,
        run.paths,
        run.net.params,
        run.batch(0),
        config,
        jax.random.key(0),
    )
    target.loss(run.first.theta, run.first.aux, run.first.head)
    model, adapter = (jax.random.key_data(seen[name]).tolist() for name in ("model", "adapter"))
    assert model != adapter
