"""Full fine-tuning: everything is trained, nothing else than that, and it comes back."""

import jax
import numpy as np
import pytest

from finetune import optimiser
from finetune.methods import MethodConfig, Refused, make
from finetune.methods.full import full
from finetune.training import adapter_files, state
from finetune.training.step import StepConfig, predict, train_step
from tests.finetune.training import small

SGD = optimiser.OptimiserConfig(
    name="sgd", learning_rate=0.1, schedule="constant", warmup=0, clip=0
)


def prepared(options=SGD):
    net, tx = small.net(), optimiser.optimiser(options, 5)
    method = make(MethodConfig("full"), options, 5)
    first = state.start(method, {}, net.trained(True, method.beside), tx, jax.random.key(0))
    step = jax.jit(train_step(net, method, small.task().loss, tx, StepConfig(clip=options.clip)))
    return net, method, first, step


def test_a_step_is_descent_on_all_parameters():
    net, method, first, step = prepared()
    batch = small.task().batch("train", 0, 0, 8)
    after, metrics = step(first, net.params, batch)

    def loss(params):
        logits = net.forward(params, batch, adapted_by_nothing(method), None)
        return small.task().loss(logits, batch["labels"], batch["weight"])

    gradient = jax.device_get(jax.jit(jax.grad(loss))(net.params))
    assert set(after.head) == set(net.params) and after.theta == {} and first.aux == {}
    for name, leaf in net.params.items():
        np.testing.assert_allclose(
            after.head[name], np.asarray(leaf) - 0.1 * gradient[name], atol=1e-6
        )
    assert any(name.endswith("bias") for name in after.head)
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in gradient.values()))
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)


def adapted_by_nothing(method):
    from finetune.training.step import adapted

    return adapted(method, {}, {})


def test_the_base_is_left_alone_and_prediction_uses_what_was_trained():
    net, method, first, step = prepared()
    before = jax.tree.map(np.array, net.params)
    batch = small.task().batch("train", 0, 0, 8)
    after, _ = step(first, net.params, batch)
    assert small.same(before, net.params)
    logits = jax.jit(predict(net, method))
    assert np.array_equal(
        logits({}, {}, after.head, net.params, batch), logits({}, {}, {}, after.head, batch)
    )
    assert not np.array_equal(
        logits({}, {}, after.head, net.params, batch), logits({}, {}, {}, net.params, batch)
    )


def test_it_is_saved_as_the_head(tmp_path):
    net, method, first, _ = prepared()
    adapter = adapter_files.exported(method, first, {}, {"base": "b"})
    assert adapter.modules == {} and adapter.parameters == 0 and adapter.ranks == {}
    adapter_files.save(tmp_path / "a.safetensors", adapter)
    result = adapter_files.load(tmp_path / "a.safetensors")
    assert result.modules == {} and result.about["method"] == "full"
    assert small.same(result.head, {n: np.asarray(leaf) for n, leaf in sorted(net.params.items())})
    assert isinstance(method.export(None, {}, {}), Refused)


def test_parts_of_the_network():
    net = small.net()
    head = set(net.trained(True))
    assert head == set(net.head()) == {"fc3.weight", "fc3.bias"}
    assert set(net.trained(False, "all")) == set(net.params) - head
    assert net.trained(False) == {} and set(net.trained(True, "all")) == set(net.params)


@pytest.mark.parametrize("option", [{"rank": 2}, {"alpha": 2.0}, {"std": 0.1}, {"path": (1, 2)}])
def test_options_of_adapters_are_refused(option):
    with pytest.raises(ValueError, match="which method 'full' does not have"):
        MethodConfig("full", **option)
    assert full().beside == "all" and make(MethodConfig("lora"), SGD, 5).beside == "head"
