import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from linear_theory.instances.random_matrices import with_values
from linear_theory.structure.least_squares import theory as ls


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_alternation_solves_each_side():
    rng = np.random.default_rng(0)
    target, start = rng.standard_normal((2, 5, 4)), rng.standard_normal((2, 2, 4))
    b, a = ls.alternate(target, start, 1)
    first = target @ np.linalg.pinv(start)
    second = np.linalg.pinv(first) @ target
    np.testing.assert_allclose(b @ a, target @ np.linalg.pinv(second) @ second, atol=1e-12)
    cut = target - ls.alternate(target, start, 500)[0] @ ls.alternate(target, start, 500)[1]
    tail = np.linalg.svd(target, compute_uv=False)[:, 2:]
    np.testing.assert_allclose(np.linalg.norm(cut, axis=(1, 2)), np.linalg.norm(tail, axis=1))


def test_tangent_of_the_power_method():
    # One sweep turns a by Phi^T Phi, which multiplies the tangent of two dimensions by q^2.
    target = with_values(np.random.default_rng(1), np.array([2.0, 1.0]), 3, 2)
    start = np.array([[0.3, 1.0]])
    _, after = ls.alternate(target, start, 1)
    assert float(ls.tangent(target, after)) == pytest.approx(float(ls.tangent(target, start)) / 4)


def test_excess_without_a_tail_is_zero():
    assert float(ls.alternating_excess(np.array([2.0, 1.0]), 2, 3.0, 1)) == 0


@pytest.mark.parametrize("rank", [1, 2])
def test_best_of_rank_by_search(rank):
    rng = np.random.default_rng(2)
    inputs, targets = rng.standard_normal((3, 6)), rng.standard_normal((2, 6))
    inputs[0] *= 5

    def loss(vector):
        b, a = vector[: 2 * rank].reshape(2, rank), vector[2 * rank :].reshape(rank, 3)
        return np.sum((b @ a @ inputs - targets) ** 2)

    result = min(minimize(loss, rng.standard_normal(5 * rank), tol=1e-12).fun for _ in range(5))
    best = ls.best_of_rank(inputs, targets, rank)
    assert np.linalg.matrix_rank(best) == rank
    assert np.sum((best @ inputs - targets) ** 2) == pytest.approx(result, rel=1e-6)


def test_unwhitened_minimiser_truncates_the_full_solution():
    rng = np.random.default_rng(3)
    inputs, targets = rng.standard_normal((3, 6)), rng.standard_normal((4, 6))
    full = targets @ np.linalg.pinv(inputs)
    np.testing.assert_allclose(ls.best_of_rank(inputs, targets, 3, whiten=False), full)
    u, s, v = np.linalg.svd(full, full_matrices=False)
    cut = ls.best_of_rank(inputs, targets, 1, whiten=False)
    np.testing.assert_allclose(cut, s[0] * u[:, :1] * v[:1], atol=1e-12)


def test_descent_reaches_its_limit():
    rng = np.random.default_rng(4)
    start, inputs, targets = (
        rng.standard_normal((2, 4)),
        rng.standard_normal((2, 2, 4)),
        rng.standard_normal((2, 2)),
    )
    end = ls.descend_linear(start, inputs, targets, np.full(2, 0.05), steps=5000)
    np.testing.assert_allclose(end, ls.descent_limit(start, inputs, targets), atol=1e-10)
