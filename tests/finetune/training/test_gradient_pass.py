"""dL/dW before training: the gradient of the mean loss, however its rows are cut."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune import optimiser
from finetune.adapters.sampling import GradientOptions
from finetune.methods import MethodConfig, make
from finetune.models import PLAIN
from finetune.training import gradient_pass, network
from rankwise import memory
from tests.finetune.models import tiny
from tests.finetune.training import small

PATHS = ("fc1", "fc2")


def whole(net, task, rows, paths=PATHS):
    """dL/dW of the mean loss on the first rows at once, by jax.grad alone."""
    batch = task.batch("train", None, 0, rows)

    def loss(kernels):
        params = {**net.params, **{f"{path}.weight": kernels[path] for path in paths}}
        inputs = {n: leaf for n, leaf in batch.items() if n not in ("labels", "weight")}
        logits = net.forward(params, inputs, PLAIN, None)
        return task.loss(logits, batch["labels"], batch["weight"])

    return jax.jit(jax.grad(loss))(net.kernels(paths))


def close(result, expected, tolerance=1e-6):
    assert set(result) == set(expected)
    for path, leaf in expected.items():
        assert result[path].dtype == leaf.dtype
        np.testing.assert_allclose(result[path], leaf, atol=tolerance * np.abs(leaf).max())


@pytest.mark.parametrize(
    ("batches", "size", "kernels"),
    [
        *((4, 2, None), (2, 4, 1)),
        pytest.param(8, 1, None, marks=pytest.mark.thorough),
        pytest.param(1, 8, None, marks=pytest.mark.thorough),
        pytest.param(8, 1, 1, marks=pytest.mark.thorough),
    ],
)
def test_it_is_the_gradient_of_the_mean_loss_however_it_is_cut(batches, size, kernels):
    options = GradientOptions(batches, size, gradient_kernels=kernels)
    result = gradient_pass.gradients(small.net(), small.task(), PATHS, options)
    close(result, whole(small.net(), small.task(), 8))


def test_a_last_batch_that_is_not_full_counts_its_rows_only():
    options = GradientOptions(3, 16)  # 40 rows: 16, 16 and 8
    result = gradient_pass.gradients(small.net(), small.task(), PATHS, options)
    close(result, whole(small.net(), small.task(), small.ROWS))


def test_a_kernel_that_is_used_twice_has_the_sum():
    # DeBERTa projects tokens and relative positions with one kernel.
    config = dataclasses.replace(tiny.CONFIGS["deberta-v2"], num_hidden_layers=1)
    net = network.from_module(tiny.random_model(config))
    generator = np.random.default_rng(0)
    ids = generator.integers(1, 50, (3, 7)).astype(np.int32)

    class Text:
        loss = staticmethod(small.task().loss)
        steps = staticmethod(lambda split, size: 3)

        @staticmethod
        def batch(split, seed, step, size):
            rows = slice(step * size, (step + 1) * size)
            ones = np.ones_like(ids[rows])
            return {
                "input_ids": ids[rows],
                "attention_mask": ones,
                "token_type_ids": 0 * ones,
                "labels": np.arange(3, dtype=np.int32)[rows],
                "weight": np.ones(size, np.float32),
            }

    paths = net.adapted()
    result = gradient_pass.gradients(net, Text, paths, GradientOptions(3, 1))
    close(result, whole(net, Text, 3, paths), 1e-5)


def test_shuffled_rows_and_dropout_are_functions_of_the_seed():
    net = small.net()

    def forward(params, inputs, ops, key):
        if key is not None:
            inputs = {"pixels": inputs["pixels"] * jax.random.bernoulli(key, 0.5, (1, 6))}
        return net.forward(params, inputs, ops, None)

    masked = dataclasses.replace(net, forward=forward)

    def found(seed, **options):
        given = GradientOptions(**options)
        return gradient_pass.gradients(masked, small.task(), PATHS, given, seed)

    assert small.same(found(0), found(1))
    close(found(0), whole(net, small.task(), 8))  # no dropout unless it is asked for
    for options in ({"gradient_shuffled": True}, {"gradient_dropout": True}):
        assert small.same(found(0, **options), found(0, **options))
        assert not small.same(found(0, **options), found(1, **options))


def test_no_gradient_and_too_many_rows_are_refused():
    net = small.net()
    dead = dataclasses.replace(net, params={**net.params, "fc3.weight": jnp.zeros((5, 3))})
    with pytest.raises(ValueError, match=r"the gradient of module fc\d has norm 0.0"):
        gradient_pass.gradients(dead, small.task(), PATHS, GradientOptions())
    with pytest.raises(ValueError, match=r"gradient_batches is 41 .* at most 40"):
        gradient_pass.gradients(net, small.task(), PATHS, GradientOptions(41))
    with pytest.raises(ValueError, match="gradient_batches is 0; allowed are integers >= 1"):
        GradientOptions(0)


def test_a_gradient_without_room_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: 0)
    with pytest.raises(ValueError, match=r"gradient before training needs .*gradient_batch_size"):
        gradient_pass.gradients(small.net(), small.task(), PATHS, GradientOptions(4, 2))


@pytest.mark.parametrize(
    "name",
    ["deeplora"]
    + [pytest.param(n, marks=pytest.mark.thorough) for n in ("loraga", "loraone", "onestep")],
)
def test_the_template_has_the_shapes_of_the_start_and_no_values(name):
    run = small.Run(MethodConfig(name, rank=2))
    tx = optimiser.optimiser(small.OPTIMISER, 12)
    head = run.net.trained(True)
    result = gradient_pass.template(run.method, run.kernels, head, tx, 0)
    assert jax.tree.structure(result) == jax.tree.structure(run.first)
    for one, two in zip(jax.tree.leaves(result), jax.tree.leaves(run.first), strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
    assert not any(leaf.any() for leaf in jax.tree.leaves(result._replace(key=jnp.zeros(1))))


def test_the_sampled_loss_is_that_of_the_network_with_its_adapter():
    run = small.Run(MethodConfig("onestep", rank=2))
    loss = gradient_pass.sampled_loss(run.method, run.net, run.task, run.method.needs_gradients)
    batch = run.task.batch("train", None, 0, 8)
    logits = run.predict(run.first.theta, run.first.aux, {}, run.net.params, batch)
    expected = run.task.loss(logits, batch["labels"], batch["weight"])
    np.testing.assert_allclose(loss(run.first.theta, run.first.aux), expected, rtol=1e-5)


def test_other_methods_take_no_gradient(monkeypatch):
    monkeypatch.setattr(gradient_pass, "gradients", None)
    assert make(MethodConfig("lora"), small.OPTIMISER, 5).needs_gradients is None
    run = small.Run("lora")
    problem = (
        run.method,
        run.net,
        run.task,
        run.paths,
        {},
        optimiser.optimiser(small.OPTIMISER, 5),
    )
    assert gradient_pass.start(*problem, 0).seconds is None
