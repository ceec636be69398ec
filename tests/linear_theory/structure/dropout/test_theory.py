import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from linear_theory.structure.dropout import theory as dropout


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_penalty_by_hand():
    left, right = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[3.0], [1.0]])
    assert float(dropout.dropout_penalty(left, right)) == 9 + 5


def test_two_dropouts_with_an_open_second_one():
    # An identity as middle layer whose masks are equal in distribution to one mask of rate mu^2
    # only on the diagonal: the terms add up to the single-layer penalty of that rate.
    rng = np.random.default_rng(0)
    first, third = rng.standard_normal((3, 2)), rng.standard_normal((2, 3))
    inputs, targets = rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    two = dropout.expected_loss_two((first, np.eye(3), third), inputs, targets, 0.7)
    one = dropout.expected_loss(first, third, inputs, targets, 0.49)
    assert float(two) == pytest.approx(float(one))


@pytest.mark.parametrize("width", [2, 3, 5])
def test_the_least_penalty_is_found_by_descent(width):
    # Over all factors of width d of a matrix of rank 2, from several starts.
    rng = np.random.default_rng(width)
    matrix = rng.standard_normal((2, 3))
    frame = rng.standard_normal((width, 2))

    def penalty(vector):
        mixing = vector.reshape(width, 2)
        left = matrix @ matrix.T @ np.linalg.pinv(mixing)
        return float(dropout.dropout_penalty(left, mixing @ np.linalg.pinv(matrix).T))

    result = min(minimize(penalty, (frame + n).ravel(), tol=1e-12).fun for n in (0.0, 0.3))
    nuclear = np.linalg.svd(matrix, compute_uv=False).sum()
    assert result == pytest.approx(nuclear**2 / width, rel=1e-5)


def test_weights():
    assert float(dropout.nuclear_weight(1.0, 3)) == 0
    for width in (1, 4, 9):
        rate = dropout.keep_rate(0.3, width)
        assert float(dropout.nuclear_weight(rate, width)) == pytest.approx(0.7 / 0.3)
    assert float(dropout.nuclear_weight(0.5, 2, 2)) == pytest.approx(2 * 0.5 + 0.25)


@given(st.integers(0, 10**6), st.floats(0.01, 20), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_threshold_is_the_weighted_nuclear_norm(seed, weight, rank):
    with jax.enable_x64(True):
        values = np.sort(np.random.default_rng(seed).exponential(1, 5))[::-1]
        shrunk = np.asarray(dropout.squared_nuclear_values(values, weight, rank))
        assert (shrunk[rank:] == 0).all()
        tau = weight * shrunk.sum()
        np.testing.assert_allclose(shrunk[:rank], np.maximum(values[:rank] - tau, 0), atol=1e-12)


@given(st.integers(0, 10**6), st.integers(3, 9))
@settings(deadline=None, max_examples=30)
def test_equal_factors(seed, width):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((4, 3)) @ rng.standard_normal((3, 6))
    left, right = dropout.equal_factors(matrix, width)
    np.testing.assert_allclose(left @ right, matrix, atol=1e-12)
    units = np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=1)
    nuclear = np.linalg.svd(matrix, compute_uv=False).sum()
    np.testing.assert_allclose(units, nuclear / width, rtol=1e-10)


def test_equal_factors_of_special_matrices():
    left, right = dropout.equal_factors(np.zeros((2, 3)), 2)
    assert left.shape == (2, 2) and right.shape == (2, 3) and not left.any() and not right.any()
    left, right = dropout.equal_factors(np.eye(4), 4)
    np.testing.assert_allclose(left @ right, np.eye(4), atol=1e-14)
    with pytest.raises(ValueError, match="width is 2; allowed are integers >= 3"):
        dropout.equal_factors(np.eye(3), 2)
