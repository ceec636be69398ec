"""Components that start along one gradient: what they are in every method of deflation."""

import jax
import numpy as np
import pytest

from finetune.methods import MethodConfig
from tests.finetune.methods import linear
from tests.finetune.methods.starts import built, change, problem, truncated

NAMES = ("parallel", "sequential", "adapad")
ALL_PUBLISHED = {"parallel": {"stagger": 0}, "sequential": {}, "adapad": {"budget": 1}}


@pytest.mark.parametrize("name", NAMES)
def test_components_are_the_singular_vectors_of_the_gradient(name):
    kernels, gradients = problem()
    with jax.enable_x64(True):
        kernels, gradients = problem()
        method = built(name, rank=3, init="gradient", init_size=0.2, scale=4.0)
        theta, aux = method.prepare(jax.random.key(0), kernels, gradients)
        a, b = (np.asarray(theta["fc"][part]) for part in ("a", "b"))
        size = np.linalg.norm(np.asarray(gradients["fc"]), 2)
        for rank in (1, 2, 3):  # every prefix is a best one
            wanted = -0.2 * truncated(gradients["fc"], rank) / size
            np.testing.assert_allclose(4 * a[:, :rank] @ b[:rank], wanted, atol=1e-12)
        np.testing.assert_allclose(np.sum(a**2, axis=0), np.sum(b**2, axis=1))
        published = int(aux["fc"]["rank"])
        wanted = -0.2 * truncated(gradients["fc"], published) / size if published else 0
        np.testing.assert_allclose(change(method, theta, aux, kernels["fc"]), wanted, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_random_start_asks_for_no_gradient(name):
    kernels, _ = problem()
    method = built(name, rank=2)
    assert method.needs_gradients is None
    theta, _ = method.prepare(jax.random.key(0), kernels, None)
    assert not np.any(theta["fc"]["b"])
    options = built(name, rank=2, init="gradient", gradient_batches=3).needs_gradients
    assert (options.gradient_batches, options.gradient_batch_size) == (3, 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"init": "spectral"}, "init is 'spectral'; allowed are 'random', 'gradient'"),
        ({"init_size": 0.0}, "init_size is 0.0; allowed are numbers > 0"),
        ({"gradient_batches": 0}, "gradient_batches is 0"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_refused(name, options, text):
    with pytest.raises(ValueError, match=text):
        MethodConfig(name, **options)


def test_a_rank_above_what_a_kernel_has_is_refused():
    kernels, gradients = problem()
    method = built("parallel", rank=8, init="gradient", stagger=0)
    with pytest.raises(ValueError, match=r"rank is 8 with module fc of 9 x 7; .* 1 to 7"):
        method.prepare(jax.random.key(0), kernels, gradients)


def test_on_white_inputs_the_start_is_the_solution():
    """min ||y - x (W + D)||^2, x^T x = 1: the gradient is -D, and no step is left to take."""
    with jax.enable_x64(True):
        x, kernel, _ = linear.data()
        x = np.linalg.qr(x)[0]
        delta = truncated(np.random.default_rng(1).normal(size=kernel.shape), 2)
        size = np.linalg.norm(delta, 2)
        method = built("parallel", rank=2, init="gradient", init_size=size, stagger=0)
        theta, aux = method.prepare(jax.random.key(0), {"fc": kernel}, {"fc": -delta})
        target = linear.objective(method, x, {"fc": kernel}, x @ (kernel + delta))
        got = linear.grads(method, target, theta, aux, {})
        assert float(got.loss) < 1e-24
        np.testing.assert_allclose(np.asarray(got.theta["fc"]["a"])[:, 1], 0, atol=1e-12)
