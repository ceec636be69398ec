"""AdaRankGrad: the rank is what the gradient needs, and a subspace that is done is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import projection
from finetune.adapters.method import Run
from finetune.methods.adarankgrad import AdaRankGradConfig, adarankgrad
from finetune.optimiser import OptimiserConfig


def made(values, key=0, shape=(8, 12)):
    generator = np.random.default_rng(key)
    left, right = (np.linalg.qr(generator.normal(size=(n, 8)))[0] for n in shape)
    values = np.concatenate([values, np.full(8 - len(values), 1e-4)])
    return jnp.asarray((left * values) @ right.T, jnp.float32)


@pytest.mark.parametrize("columns", [0, 6])
@pytest.mark.parametrize(
    ("values", "rank"), [([1.0], 1), ([1, 1], 2), ([1, 1, 0.3], 3), ([1] * 6, 3)]
)
def test_the_rank_is_what_the_gradient_needs(values, rank, columns):
    gradient = made(values)
    sample = jax.random.normal(jax.random.key(0), (12, columns)) if columns else None
    basis = projection.adaptive(gradient, 3, least=1, residual=0.2, sample=sample)
    assert int((np.abs(basis).max(axis=0) > 0).sum()) == rank
    live = np.asarray(basis)[:, :rank]
    np.testing.assert_allclose(live.T @ live, np.eye(rank), atol=1e-5)
    missed = np.linalg.norm(gradient - live @ (live.T @ gradient)) / np.linalg.norm(gradient)
    assert missed < 0.2 or rank == 3
    fewer = live[:, :-1]
    assert np.linalg.norm(gradient - fewer @ (fewer.T @ gradient)) >= 0.2 * np.linalg.norm(gradient)
    least = projection.adaptive(gradient, 3, least=2, residual=0.2, sample=sample)
    assert int((np.abs(least).max(axis=0) > 0).sum()) == max(rank, 2)


def test_a_gradient_of_zeros_is_no_accident():
    basis = projection.adaptive(
        jnp.zeros((8, 12)), 2, least=1, residual=0.2, sample=jnp.ones((12, 4))
    )
    assert np.isfinite(basis).all()


def test_ranks_follow_the_gradient_and_a_done_subspace_is_left():
    config = AdaRankGradConfig(rank=3, gap=50, converged=0.5, sketch=0)
    method = adarankgrad(config, Run(OptimiserConfig(), 10))
    theta, aux = method.prepare(None, {"fc": jnp.ones((8, 12))}, None)
    opt, step = method.tx.init(theta), jax.jit(method.tx.update)
    wide = made([1, 1, 1])
    sizes, ages = [], []
    for number, gradient in enumerate([wide, 0.9 * wide, 0.1 * made([1.0], 1), made([1.0], 1)]):
        given = {"fc": {"delta": gradient}}
        _, opt = step(given, opt, theta, step=jnp.int32(number))
        _, aux, _ = method.post(theta, aux, opt, None)
        sizes.append(int(method.ranks(theta, aux)["fc"]))
        ages.append(int(opt["fc"]["age"]))
        assert (np.asarray(opt["fc"]["second"]) >= 0).all()
    assert sizes == [3, 3, 1, 1] and ages == [1, 2, 1, 2]
