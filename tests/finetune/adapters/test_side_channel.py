"""The score of the backward pass is that of the dense gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters import factors
from finetune.adapters.side_channel import tap


def chain(theta, probes, x, remat=False):
    """Two layers with activations of three axes."""

    def layer(x, leaves, probe):
        y = jnp.tanh(x @ leaves["w"]) + (x @ leaves["a"]) @ leaves["b"]
        return tap(y, x, leaves["a"], leaves["b"], probe)

    layer = jax.checkpoint(layer) if remat else layer
    for leaves, probe in zip(theta, probes, strict=True):
        x = layer(x, leaves, probe)
    return jnp.sum(x**3)


def problem(dtype=jnp.float32):
    draw = np.random.default_rng(0)
    shapes = {"w": (4, 4), "a": (4, 2), "b": (2, 4)}
    theta = [
        {name: jnp.asarray(draw.normal(size=shape), dtype) for name, shape in shapes.items()}
        for _ in range(2)
    ]
    return theta, jnp.asarray(draw.normal(size=(2, 3, 4)), dtype)


def test_gradients_pass_unchanged_and_the_score_is_the_dense_one():
    with jax.enable_x64(True):
        theta, x = problem(jnp.float64)
        probes = (jnp.zeros(()), jnp.ones(()))
        for remat in (False, True):
            slope = jax.jit(jax.grad(chain, (0, 1)), static_argnums=3)
            result, sums = slope(theta, probes, x, remat)

            def dense(changes):
                hidden = x
                for leaves, change in zip(theta, changes, strict=True):
                    hidden = jnp.tanh(hidden @ leaves["w"]) + hidden @ change
                return jnp.sum(hidden**3)

            changes = [factors.delta(leaves, {"gain": jnp.ones(2)}) for leaves in theta]
            gradients = jax.jit(jax.grad(dense))(changes)
            each = jax.device_get((changes, gradients, theta, result, sums))
            for change, gradient, leaves, given, total in zip(*each, strict=True):
                np.testing.assert_allclose(given["a"], gradient @ leaves["b"].T, rtol=1e-12)
                np.testing.assert_allclose(given["b"], leaves["a"].T @ gradient, rtol=1e-12)
                np.testing.assert_allclose(total, np.abs(change * gradient).sum(), rtol=1e-12)


def test_bfloat16_activations_give_a_float32_score():
    theta, x = problem(jnp.bfloat16)
    score = jax.jit(jax.grad(chain, 1))
    half = score(theta, (jnp.zeros(()),) * 2, x)
    exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), theta)
    full = score(exact, (jnp.zeros(()),) * 2, x.astype(jnp.float32))
    assert all(value.dtype == jnp.float32 for value in half)
    np.testing.assert_allclose(half, full, rtol=0.2)
