"""LoRA, rsLoRA, and what all low-rank methods share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from finetune.adapters import factors
from finetune.adapters.by_component import by_component
from finetune.adapters.method import Run
from finetune.methods import MethodConfig, make
from finetune.methods.lora import LoraConfig, lora, rslora
from finetune.optimiser import OptimiserConfig
from tests.finetune.methods import linear

KERNELS = {"b.fc": np.ones((6, 3), np.float32), "a.fc": np.ones((4, 5), np.float32)}
RUN = Run(OptimiserConfig(), total=10)


def same(x):
    return x


@pytest.mark.parametrize(("make_it", "scale"), [(lora, 4.0), (rslora, 8.0)])
def test_scale_and_start(make_it, scale):
    method = make_it(LoraConfig(4, alpha=16.0), RUN)
    theta, aux = method.prepare(jax.random.key(0), KERNELS, None)
    assert list(theta) == ["a.fc", "b.fc"]
    for path, kernel in KERNELS.items():
        assert aux[path]["gain"].tolist() == [scale] * 4
        a = np.asarray(theta[path]["a"])
        assert np.abs(a).max() <= kernel.shape[0] ** -0.5 and np.abs(a).std() > 0.05
        x = np.arange(2.0 * kernel.shape[0], dtype=np.float32).reshape(2, -1)
        y = method.apply(x, kernel, theta[path], aux[path], same)
        assert np.array_equal(y, x @ kernel), "an untrained adapter changes the network"


def test_first_values_do_not_depend_on_the_other_modules_or_the_rank():
    small = make(MethodConfig("lora", rank=2), OptimiserConfig(), 10)
    large = make(MethodConfig("lora", rank=5), OptimiserConfig(), 10)
    one = small.prepare(jax.random.key(0), {"a.fc": KERNELS["a.fc"]}, None)[0]
    two = large.prepare(jax.random.key(0), KERNELS, None)[0]
    assert np.array_equal(one["a.fc"]["a"], two["a.fc"]["a"][:, :2])


def test_activation_form_export_and_look_up_are_the_dense_change():
    method = lora(LoraConfig(3), RUN)
    theta, aux = method.prepare(jax.random.key(0), KERNELS, None)
    theta = linear.trained(theta, aux)
    ids = np.array([[0, 2], [1, 1]])

    @jax.jit
    def forms(x, kernel, theta, aux):
        y, dropped = (method.apply(x, kernel, theta, aux, f) for f in (same, jnp.zeros_like))
        return y, dropped, method.lookup(ids, kernel, theta, aux)

    for path, kernel in KERNELS.items():
        change = np.asarray(factors.delta(theta[path], aux[path]))
        exported = method.export(kernel, theta[path], aux[path])
        np.testing.assert_allclose(exported.a @ exported.b, change, atol=1e-5)
        x = np.random.default_rng(1).normal(size=(2, 3, kernel.shape[0])).astype(np.float32)
        y, dropped, rows = forms(x, kernel, theta[path], aux[path])
        np.testing.assert_allclose(y, x @ (kernel + change), atol=1e-4)
        np.testing.assert_allclose(dropped, x @ kernel, atol=1e-5)
        np.testing.assert_allclose(rows, (kernel + change)[ids], atol=1e-5)


def test_dead_components_are_not_exported():
    theta = {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 2))}
    assert (
        factors.export(None, theta, {"gain": jnp.array([2.0, 0.0, 0.0])}).a.tolist() == [[2.0]] * 2
    )
    assert factors.export(None, theta, {"gain": jnp.zeros(3)}).b.shape == (0, 2)


def test_bfloat16_activations_stay_so():
    method = lora(LoraConfig(2), RUN)
    theta, aux = method.prepare(jax.random.key(0), KERNELS, None)
    x = jnp.ones((2, 4), jnp.bfloat16)
    assert method.apply(x, KERNELS["a.fc"], theta["a.fc"], aux["a.fc"], same).dtype == jnp.bfloat16


def test_components_have_their_own_adam():
    theta = {"fc": {"a": np.ones((3, 2), np.float32), "b": np.ones((2, 4), np.float32)}}
    gradients = jax.tree.map(lambda leaf: leaf * np.float32(0.3), theta)
    apart, inner = by_component(optax.scale_by_adam()), optax.scale_by_adam()
    state, alone = apart.init(theta), inner.init(theta)
    step, plain = jax.jit(apart.update), jax.jit(inner.update)
    for active in ([True, False], [True, True], [True, False]):
        updates, state = step(gradients, state, theta, active={"fc": np.array(active)})
        expected, alone = plain(gradients, alone, theta)
        np.testing.assert_allclose(updates["fc"]["a"][:, 0], expected["fc"]["a"][:, 0], rtol=1e-6)
        assert np.any(updates["fc"]["b"][1]) == active[1]
    assert state["fc"].count.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "nora"}, "method is 'nora'"),
        (
            {"name": "lora", "budget": 3},
            "budget is 3, which method 'lora' does not have; its options are rank",
        ),
        ({"name": "adapad", "alpha": 2.0}, "alpha is 2.0, which method 'adapad' does not have"),
        ({"name": "sequential", "path": (1, 2), "rank": 3}, "path has 2 entries; allowed are 3"),
        ({"name": "lora", "rank": 0}, "rank is 0"),
    ],
)
def test_an_option_without_effect_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        MethodConfig(**options)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="total is 3"):
        make(MethodConfig("sequential", rank=4), OptimiserConfig(), 3)
    with pytest.raises(ValueError, match="stagger is 10 with rank 4; allowed are at most 30 steps"):
        make(MethodConfig("parallel", stagger=10), OptimiserConfig(), 30)


def test_sequential_budgets_reach_the_schedule():
    method = make(MethodConfig("sequential", rank=3, order=1.0), OptimiserConfig(), 30)
    _, aux = method.prepare(jax.random.key(0), KERNELS, None)
    assert aux["a.fc"]["gain"].tolist() == [1.0, 0.0, 0.0]
