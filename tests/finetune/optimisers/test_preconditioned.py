"""Gradients divided by the other factor's Gram matrix: a recorded trace, and what they leave."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from finetune.methods import MethodConfig, make
from finetune.optimiser import OptimiserConfig
from finetune.optimisers.preconditioned import preconditioned, uncorrected_adam
from tests.finetune.methods.starts import built, problem

TRACE = pathlib.Path(__file__).parents[1] / "data" / "methods" / "p_lora.npz"


@pytest.mark.parametrize("order", ["gauss_seidel", "jacobi"])
def test_the_public_optimiser_s_trace(order):
    with jax.enable_x64(), np.load(TRACE) as file:
        config = json.loads(str(file["config"]))
        moments = uncorrected_adam(*config["betas"], config["eps"])
        inner = optax.chain(moments, optax.scale(-config["lr"]))
        tx = preconditioned(inner, config["reg"], order)

        def at(name, t):
            return {
                str(i): {
                    n: jnp.asarray(file[f"{name}{N}_{i}"][t]) for n, N in (("a", "A"), ("b", "B"))
                }
                for i in range(2)
            }

        theta, state, error = at("", 0), tx.init(at("", 0)), 0.0
        update = jax.jit(tx.update)
        for t in range(config["steps"]):
            updates, state = update(at("g", t), state, theta)
            theta = optax.apply_updates(theta, updates)
            for one, two in zip(
                jax.tree.leaves(theta), jax.tree.leaves(at("", t + 1)), strict=True
            ):
                error = max(error, float(jnp.abs(one - two).max()))
    if order == "gauss_seidel":
        assert error < 1e-11
    else:
        assert error > 1e-4  # the other order is another optimiser


def test_the_product_moves_alike_whatever_the_factors_sizes():
    with jax.enable_x64():
        generator = np.random.default_rng(0)
        a, b, whole = (jnp.asarray(generator.normal(size=s)) for s in ((6, 2), (2, 5), (6, 5)))
        mix = jnp.asarray([[3.0, 1.0], [0.0, 0.2]])
        tx = preconditioned(optax.sgd(0.1), 1e-12, "jacobi")

        @jax.jit
        def moved(a, b):
            theta = {"fc": {"a": a, "b": b}}
            slope = {"fc": {"a": whole @ b.T, "b": a.T @ whole}}
            new = optax.apply_updates(theta, tx.update(slope, tx.init(theta), theta)[0])
            return new["fc"]["a"] @ new["fc"]["b"]

        np.testing.assert_allclose(moved(a, b), moved(a @ mix, jnp.linalg.inv(mix) @ b), atol=1e-9)


def test_bias_correction_is_what_distinguishes_the_two():
    kernels, gradients = problem(dtype=np.float32)
    adam = OptimiserConfig(learning_rate=0.1, schedule="constant", warmup=0, clip=0, epsilon=1e-30)
    steps = []
    for bias_correction in (True, False):
        method = built("loraone", adam, rank=2, bias_correction=bias_correction)
        theta, _ = method.prepare(jax.random.key(0), kernels, gradients)
        slope = jax.tree.map(jnp.ones_like, theta)
        updates, _ = jax.jit(method.tx.update)(slope, method.tx.init(theta), theta, step=0)
        steps.append(float(updates["fc"]["a"][0, 0]))
    np.testing.assert_allclose(steps, [-0.1, -0.1 * 0.1 / 0.001**0.5], rtol=1e-4)


def test_a_preconditioned_run_stays_finite_from_the_public_start():
    method = make(MethodConfig("loraone", rank=2, preconditioned=True), OptimiserConfig(), 5)
    kernels, gradients = problem(dtype=np.float32)
    theta, _ = method.prepare(jax.random.key(0), kernels, {"fc": 1e-6 * gradients["fc"]})
    state, update = method.tx.init(theta), jax.jit(method.tx.update)
    for step in range(5):
        slope = jax.tree.map(jnp.ones_like, theta)
        updates, state = update(slope, state, theta, step=step)
        theta = optax.apply_updates(theta, updates)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(theta))
