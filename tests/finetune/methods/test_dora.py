"""DoRA and PiSSA: what is stored, subtracted and dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import factors
from finetune.methods import MethodConfig, make
from finetune.optimiser import OptimiserConfig
from finetune.training import adapter_files
from tests.finetune.training import small

RATE = OptimiserConfig(learning_rate=0.02, schedule="constant", warmup=0)


def same(x):
    return x


def built(name, options=RATE, **settings):
    return make(MethodConfig(name, **settings), options, 100)


def test_row_12_pissa_keeps_the_base_and_what_was_subtracted():
    run = small.Run(MethodConfig("pissa", rank=2))
    before = {name: np.array(leaf) for name, leaf in run.net.params.items()}
    batch, first = run.batch(0), run.first
    logits = run.predict(first.theta, first.aux, first.head, run.net.params, batch)
    plain = run.predict({}, {}, {}, run.net.params, batch)
    np.testing.assert_allclose(logits, plain, atol=1e-6)
    last = run.states()[-1]
    assert all(np.array_equal(before[name], leaf) for name, leaf in run.net.params.items())
    for path, kernel in run.kernels.items():
        theta, aux = last.theta[path], last.aux[path]
        first = run.first.theta[path]
        # The start is in the state, which is what a resumed run reads.
        assert small.same((aux["a0"], aux["b0"]), (first["a"], first["b"]))
        change = run.method.export(kernel, theta, aux)
        assert change.a.shape[1] == 4
        (a, b), (a0, b0) = ([np.asarray(t[n]) for n in "ab"] for t in (theta, first))
        expected = 8.0 * (a @ b - a0 @ b0)
        np.testing.assert_allclose(change.a @ change.b, expected, atol=1e-5)
        assert np.abs(expected).max() > 0.1
    adapter = adapter_files.exported(run.method, last, run.kernels, {})
    trained = sum(leaf.size for leaf in jax.tree.leaves(last.theta))
    assert adapter_files.trained(adapter, last.theta) == trained == adapter.parameters // 2


@pytest.mark.parametrize(
    ("svd", "dtype"),
    [
        ("exact", "bfloat16"),
        pytest.param("randomised", "float32", marks=pytest.mark.thorough),
        pytest.param("exact", "float32", marks=pytest.mark.thorough),
        pytest.param("randomised", "bfloat16", marks=pytest.mark.thorough),
    ],
)
def test_row_13_the_offset_is_that_of_the_stored_factors(dtype, svd):
    """Bitwise no change at the start, whatever the activations, the kernel and the SVD."""
    method = built("pissa", rank=3, svd=svd)
    for kind in (jnp.float32, jnp.bfloat16):
        kernel = jax.random.normal(jax.random.key(0), (7, 6)).astype(kind)
        theta, aux = method.prepare(jax.random.key(1), {"fc": kernel}, None)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((theta, aux))} == {"float32"}
        x = jax.random.normal(jax.random.key(2), (4, 7)).astype(dtype)
        apply = jax.jit(lambda x, k, t, a: method.apply(x, k, t, a, lambda x: x))
        y = apply(x, kernel, theta["fc"], aux["fc"])
        assert y.dtype == dtype
        assert np.array_equal(y, jax.jit(factors.matmul)(x, kernel))
        ids = jnp.array([0, 3])
        assert np.array_equal(method.lookup(ids, kernel, theta["fc"], aux["fc"]), kernel[ids])
        first = method.export(kernel, theta["fc"], aux["fc"])
        assert np.abs(first.a @ first.b).max() < 1e-5


def change(theta):
    return {path: leaves["a"] @ leaves["b"] for path, leaves in theta.items()}


def test_the_randomised_svd_finds_the_leading_part():
    kernel = jax.random.normal(jax.random.key(0), (60, 40)) * 0.8 ** jnp.arange(40)
    parts = []
    for svd in ("exact", "randomised"):
        theta, _ = built("pissa", rank=3, svd=svd).prepare(jax.random.key(1), {"f": kernel}, None)
        parts.append(theta["f"])
    for name in "ab":
        np.testing.assert_allclose(parts[0][name], parts[1][name], atol=1e-3)


@pytest.mark.thorough  # of one scale: test_step.py
def test_dropout_of_dora_acts_on_all_that_is_added():
    """The formula of PEFT's layer: (m/n - 1) (drop(x) W) + (m/n) s (drop(x) a) b, added to x W."""
    with jax.enable_x64(True):
        method = built("dora", rank=2, alpha=6.0)
        kernel = jax.random.normal(jax.random.key(0), (5, 4), jnp.float64)
        theta, aux = method.prepare(jax.random.key(1), {"fc": kernel}, None)
        theta, aux = theta["fc"], aux["fc"]
        theta["b"] = jax.random.normal(jax.random.key(2), (2, 4), jnp.float64)
        theta["magnitude"] = theta["magnitude"] * 1.5
        x = jax.random.normal(jax.random.key(3), (3, 5), jnp.float64)
        thin = x * (jax.random.uniform(jax.random.key(4), x.shape) < 0.5) * 2
        ids = np.array([1, 1, 4])

        @jax.jit
        def forms(x, kernel, theta, aux):
            y, whole = (method.apply(x, kernel, theta, aux, lambda x, t=t: t) for t in (thin, x))
            return y, whole, method.lookup(ids, kernel, theta, aux)

        y, whole, rows = forms(x, kernel, theta, aux)
        theta, x, thin, kernel = jax.device_get((theta, x, thin, kernel))
        low = 3.0 * theta["a"] @ theta["b"]
        f = theta["magnitude"] / np.linalg.norm(kernel + low, axis=0)
        expected = x @ kernel + (f - 1) * (thin @ kernel) + f * (thin @ low)
        np.testing.assert_allclose(y, expected, rtol=1e-12)
        np.testing.assert_allclose(whole, x @ (f * (kernel + low)), rtol=1e-10)
        np.testing.assert_allclose(rows, (f * (kernel + low))[ids], rtol=1e-10)


@pytest.mark.thorough  # rounded alike: training/test_starts.py
def test_dora_starts_bitwise_unchanged():
    run = small.Run("dora")
    for path, kernel in run.kernels.items():
        x = jax.random.normal(jax.random.key(0), (4, kernel.shape[0]))
        theta, aux = run.first.theta[path], run.first.aux[path]
        y = jax.jit(lambda *args: run.method.apply(*args, same))(x, kernel, theta, aux)
        assert np.array_equal(y, jax.jit(factors.matmul)(x, kernel))
