"""The projection on output directions is the optimum, whatever the metric is."""

import jax
import numpy as np
import pytest

from deflation import Regression, exact
from finetune.compression import directions


def case(seed, tokens, size_in, size_out):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, size_in)) * rng.uniform(0.1, 3, size_in)
    return x, x.T @ x, rng.normal(size=(size_in, size_out))


@pytest.mark.parametrize("tokens", [5, 40])
@pytest.mark.parametrize("shape", [(8, 6), (6, 8), (7, 7), (9, 1)])
def test_every_rank_attains_the_tail(tokens, shape):
    x, gram, kernel = case(0, tokens, *shape)
    answer = directions.leading(kernel, directions.metric(gram))
    tails = np.linalg.svd(x @ kernel, compute_uv=False) ** 2
    errors = answer.errors(gram)
    assert answer.basis.shape == (shape[1], min(shape))
    for rank in range(min(shape) + 1):
        a, b = answer.factors(rank)
        least = tails[rank:].sum()
        assert np.sum((x @ (kernel - a @ b)) ** 2) == pytest.approx(least, abs=1e-9 * tails.sum())
        assert errors[rank] == pytest.approx(least, abs=1e-9 * tails.sum())


@pytest.mark.parametrize("shrink", [0.0, 0.1])
def test_it_is_the_answer_of_the_core(shrink):
    _, gram, kernel = case(1, 5, 8, 6)
    with jax.enable_x64(True):
        problem = Regression.from_weight(kernel.T, gram, ridge=shrink)
        reference = np.asarray(exact(problem, 2).components.matrix()).T
    a, b = directions.leading(kernel, directions.metric(gram, shrink=shrink)).factors(2)
    np.testing.assert_allclose(a @ b, reference, atol=1e-8)


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])
def test_a_power_of_the_moments_is_the_metric(power):
    _, gram, kernel = case(2, 40, 6, 5)
    values, vectors = np.linalg.eigh(gram / np.trace(gram))
    expected = (vectors * values**power) @ vectors.T
    np.testing.assert_allclose(directions.metric(gram, power=power), expected, atol=1e-12)
    root = (vectors * values ** (power / 2)) @ vectors.T
    a, b = directions.leading(kernel, expected).factors(2)
    least = (np.linalg.svd(root @ kernel, compute_uv=False)[2:] ** 2).sum()
    assert np.sum((root @ (kernel - a @ b)) ** 2) == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("shrink", [0.0, 0.1])
def test_anchored_is_the_regression_of_old_outputs(shrink):
    x, gram, kernel = case(3, 40, 6, 5)
    before = x + 0.3 * np.random.default_rng(4).normal(size=x.shape)
    ridge = shrink * np.trace(gram) / 6
    rows = np.sqrt(ridge) * np.eye(6)
    inputs, outputs = np.vstack([x, rows]), np.vstack([before @ kernel, rows @ kernel])
    left, values, right = np.linalg.svd(inputs, full_matrices=False)
    u, s, v = np.linalg.svd(left.T @ outputs, full_matrices=False)
    best = right.T @ ((u[:, :2] * s[:2]) / values[:, None]) @ v[:2]
    a, b = directions.anchored(kernel, gram, x.T @ before, shrink=shrink).factors(2)
    np.testing.assert_allclose(a @ b, best, atol=1e-9)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (np.full((2, 2), np.nan), "NaN"),
        (np.zeros((2, 2)), "trace 0"),
        (np.ones((2, 3)), "square"),
        (np.array([[1.0, 1.0], [0.0, 1.0]]), "transpose"),
    ],
)
def test_no_gram_matrix(gram, message):
    with pytest.raises(ValueError, match=message):
        directions.metric(gram)


@pytest.mark.parametrize("option", ["power", "shrink"])
def test_negative_options(option):
    with pytest.raises(ValueError, match=option):
        directions.metric(np.eye(2), **{option: -1.0})
