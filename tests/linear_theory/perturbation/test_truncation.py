import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_theory.perturbation import truncation as tr


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_tail_by_hand():
    np.testing.assert_allclose(tr.tail_norm(np.array([12.0, 4.0, 3.0])), [13.0, 5.0, 3.0, 0.0])


@given(st.integers(0, 4), st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_truncation_reaches_the_tail(rank, seed):
    with jax.enable_x64(True):
        matrix = np.random.default_rng(seed).normal(size=(2, 5, 4))
        cut = np.asarray(tr.truncate(matrix, rank))
        tail = tr.tail_norm(np.linalg.svd(matrix, compute_uv=False))[:, rank]
        assert (np.linalg.matrix_rank(cut, tol=1e-9) == rank).all()
        np.testing.assert_allclose(np.linalg.norm(matrix - cut, axis=(1, 2)), tail, atol=1e-12)


@pytest.mark.parametrize("rank", [-1, 3])
def test_a_rank_outside_the_matrix_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank is {rank}"):
        tr.truncate(np.ones((2, 5)), rank)


def test_bounds_by_hand():
    # s = (3, 2, 0): T = (1, 2, 0); sqrt(r) (3 + 4 s_{r+1}/T_r) eta.
    below = tr.truncation_bound_below_rank(np.array([3.0, 2.0, 0.0]), 0.5)
    np.testing.assert_allclose(below, [5.5, 1.5 * np.sqrt(2), np.inf])
    assert float(tr.truncation_bound_above_rank(7, 2, 0.5)) == pytest.approx(3.0)
    free = tr.truncation_bound_gap_free(np.array([3.0, 4.0, 0.0, 0.0]), 1, 1.0)
    np.testing.assert_allclose(np.asarray(free)[[0, 1, 4]], [7.0, 7.0, 4.0])


def test_noise_per_instance():
    values = np.array([[3.0, 2.0], [3.0, 2.0]])
    noise = np.array([[0.1], [0.2]])
    below = tr.truncation_bound_below_rank(values, noise)
    np.testing.assert_allclose(below[1], 2 * below[0])
    assert tr.truncation_bound_gap_free(values, np.array([[2], [2]]), noise).shape == (2, 3)
