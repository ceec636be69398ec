"""The adapted model is the model with changed kernels: values, gradients, transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.host import evaluation
from finetune.host.choosing import chosen
from finetune.host.model import parts
from finetune.host.network import examined, host_network
from finetune.methods import MethodConfig, make
from finetune.models.parts.ops import PLAIN
from finetune.optimiser import OptimiserConfig
from finetune.training.adapted_ops import adapted
from tests.finetune.host.own_models import MODELS, model, tokens

METHODS = ("lora", "dora", "adalora", "adapad", "galore", "pissa", "welore")


@functools.cache
def made(name, dtype="float32"):
    """Parts, modules and network of a model."""
    taken = parts(jax.tree.map(lambda leaf: leaf.astype(dtype), model(name)))
    discovered = examined(MODELS[name][1], taken, tokens())
    arrays = {**taken.params, **taken.rest}
    modules = chosen(discovered, arrays, None, (), make_method("lora"))
    return taken, modules, host_network(MODELS[name][1], taken, modules, ())


def make_method(name):
    options = {} if name == "welore" else {"rank": 2}
    return make(MethodConfig(name, **options), OptimiserConfig(), total=40)


def started(method, network):
    """theta and aux with every entry moved, so that all that is trained counts."""
    theta, aux = method.prepare(jax.random.key(0), network.kernels(network.linears), None)
    draw = np.random.default_rng(7)
    moved = jax.tree.map(
        lambda w: w + (0.1 * draw.normal(size=w.shape)).astype(w.dtype), jax.device_get(theta)
    )
    return moved, aux


def compared(name, method, dtype, tolerance):
    """Value and gradients against the model with W + D in place of every W."""
    taken, modules, network = made(name, dtype)
    method, batch = make_method(method), tokens()
    theta, aux = started(method, network)

    def ours(theta):
        return network.forward(network.params, batch, adapted(method, theta, aux), None)

    def by_hand(theta):
        arrays = dict(network.params)
        for key, module in modules.items():
            kernels = network.kernels(module.paths)
            for path in set(module.paths) & set(theta):
                rows = jnp.eye(kernels[path].shape[0], dtype=kernels[path].dtype)
                own = (kernels[path], theta[path], aux[path], lambda x: x)
                kernels[path] = method.apply(rows, *own)
            arrays[key] = module.whole(list(kernels.values()))
        return MODELS[name][1](taken.build(arrays), batch)

    got, expected = jax.jit(lambda theta: [jax.value_and_grad(f)(theta) for f in (ours, by_hand)])(
        theta
    )
    np.testing.assert_allclose(got[0], expected[0], rtol=tolerance)
    size = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected[1]))
    for one, other in zip(*map(jax.tree.leaves, (got[1], expected[1])), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * size)


# Every form of a change on one model, and every model with one method; layers that are computed
# again are looked into as others are.
PAIRS = [("pytree", method) for method in ("adapad", "galore", "welore")]
PAIRS += [("scanned", "lora"), ("listed", "lora")]
FURTHER = [("pytree", method) for method in ("lora", "dora", "adalora", "pissa")] + [
    ("remat", "lora")
]
FURTHER += [("scanned", method) for method in METHODS if method != "lora"]
FURTHER = [
    pytest.param(*pair, marks=pytest.mark.thorough) for pair in (*FURTHER, ("listed", "dora"))
]


@pytest.mark.parametrize(("name", "method"), [*PAIRS, *FURTHER])
def test_gradients_are_those_of_changed_kernels(name, method, monkeypatch):
    uses = []
    value = evaluation._Evaluation.value
    monkeypatch.setattr(evaluation._Evaluation, "value", lambda *a: uses.append(a[2]) or value(*a))
    compared(name, method, "float32", 1e-6)
    assert uses == []  # every use was a product


@pytest.mark.thorough  # in float32 above
@pytest.mark.parametrize("name", ["pytree", "listed"])
def test_in_float64_to_its_precision(name):
    with jax.enable_x64(True):
        compared(name, "adalora", "float64", 1e-12)


@pytest.mark.thorough  # as above
def test_kernels_given_in_the_place_of_some_layers_give_dense_gradients():
    """As of one layer of a stack alone, whose gradient an adapter may start from."""
    _, modules, network = made("scanned")
    method, batch, path = make_method("lora"), tokens(), "blocks.1.up"
    theta, aux = started(method, network)

    def ours(kernel):
        ops = adapted(method, theta, aux, {path: kernel})
        return network.forward(network.params, batch, ops, None)

    def reference(kernel):
        module = modules["blocks.up.kernel"]
        kernels = {**network.kernels(module.paths), path: kernel}
        arrays = {**network.params, module.array: module.whole(list(kernels.values()))}
        return network.forward(arrays, batch, adapted(method, theta, aux), None)

    kernel = network.kernels((path,))[path]
    both = jax.jit(lambda kernel: [jax.grad(f)(kernel) for f in (ours, reference)])
    np.testing.assert_allclose(*both(kernel), rtol=1e-4, atol=1e-6)


def test_bfloat16_kernels_keep_a_small_change():
    """As a sum W + D a change of a thousandth would be rounded away."""
    rng = np.random.default_rng(0)
    w, x = (rng.normal(size=s).astype("float32") for s in ((64, 64), (16, 64)))
    weights = {"w": jnp.asarray(w, jnp.bfloat16)}

    def out(model, x):
        return jax.lax.dot(x.astype(model["w"].dtype), model["w"])

    modules = examined(lambda m, x: jnp.sum(out(m, x)).astype("float32"), parts(weights), x).modules
    method = make_method("lora")
    a, b = (rng.normal(size=s).astype("float32") for s in ((64, 2), (2, 64)))
    size = 1e-3 * np.linalg.norm(w) / np.linalg.norm(a @ b)
    theta, aux = (
        {"w": {"a": jnp.asarray(a), "b": jnp.asarray(b * size)}},
        {"w": {"gain": jnp.ones(2)}},
    )
    called = []

    def spied(path, x, kernel):
        y = method.apply(
            x.astype("float32"), 0 * kernel.astype("float32"), theta[path], aux[path], lambda x: x
        )
        called.append(np.asarray(y))
        return y

    ops = adapted(method, theta, aux)._replace(linear=spied)
    evaluation.evaluate(lambda m, x: out(m, x), weights, modules, ops, x)
    rounded = np.asarray(jnp.asarray(x, jnp.bfloat16), "float32")
    exact = rounded @ (a @ b * size)
    assert np.linalg.norm(called[0] - exact) < 0.01 * np.linalg.norm(exact)


def test_a_product_is_taken_as_the_program_asks_for_it():
    """Precision and the dtype of sums are the equation's, though the method computes it."""
    weights, x = {"w": jnp.ones((4, 3), jnp.bfloat16)}, jnp.ones((2, 4), jnp.bfloat16)

    def out(model, x):
        numbers = (((1,), (0,)), ((), ()))
        return jax.lax.dot_general(
            x, model["w"], numbers, precision="high", preferred_element_type=jnp.float32
        )

    modules = examined(lambda m, x: jnp.sum(out(m, x)), parts(weights), x).modules
    method = make_method("lora")
    theta, aux = method.prepare(jax.random.key(0), weights, None)
    ops = adapted(method, theta, aux)
    traced = jax.make_jaxpr(lambda x: evaluation.evaluate(out, weights, modules, ops, x))(x)
    dots = [e.params for e in traced.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert len(dots) == 3
    high = jax.lax.Precision.HIGH
    assert {(p["precision"], p["preferred_element_type"].name) for p in dots} == {
        ((high, high), "float32")
    }


def test_factors_do_not_depend_on_the_order_in_which_axes_are_summed():
    """Of heads and their entries an einsum may sum either first; a file must fit both."""
    kernel = jax.random.normal(jax.random.key(0), (2, 3, 5))
    x = jax.random.normal(jax.random.key(1), (4, 2, 3))
    change = jax.random.normal(jax.random.key(2), (6, 5))

    def moved(path, x, kernel):
        return x @ (kernel + change)

    for axes in (((1, 2), (0, 1)), ((2, 1), (1, 0))):

        def out(model, x, axes=axes):
            return jax.lax.dot_general(x, model["o"], (axes, ((), ())))

        weights = {"o": kernel}
        modules = examined(lambda m, x: jnp.sum(out(m, x)), parts(weights), x).modules
        assert modules["o"].ins == (0, 1)
        ops = PLAIN._replace(linear=moved)
        got = evaluation.evaluate(out, weights, modules, ops, x)
        expected = jnp.einsum("bhn,hnd->bd", x, kernel + change.reshape(kernel.shape))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
