"""The leading part of a change, against its full decomposition."""

import numpy as np
import pytest

from finetune.algebra.extraction import leading, whole


def matrix(size=(90, 120), decay=1.0, dtype=np.float64):
    rng = np.random.default_rng(0)
    u, _, vt = np.linalg.svd(rng.normal(size=size), full_matrices=False)
    return ((u * np.arange(1, len(vt) + 1) ** -decay) @ vt).astype(dtype)


def missed(delta, found, rank):
    a, b = found.spectrum.prefix(rank)
    return np.linalg.norm(delta.astype(np.float64) - a @ b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_close_to_the_best_and_says_how_close(dtype, transposed):
    delta = matrix(dtype=dtype)
    delta = delta.T if transposed else delta
    found = leading(delta, 8)
    best = np.linalg.norm(np.linalg.svd(delta.astype(float), compute_uv=False)[8:])
    error = missed(delta, found, 8)
    assert len(found.spectrum.values) < 90  # it was not the whole decomposition
    assert best <= error * (1 + 1e-6) and error <= 1.03 * best
    assert found.error == pytest.approx(error, rel=1e-5)
    assert found.norm == pytest.approx(np.linalg.norm(delta), rel=1e-6)


def test_no_tolerance_is_exact():
    delta = matrix()
    best = np.linalg.norm(np.linalg.svd(delta, compute_uv=False)[8:])
    assert leading(delta, 8, tolerance=0).error == pytest.approx(best, rel=1e-9)


def test_a_change_of_low_rank_is_found_whole():
    delta = matrix()[:, :5] @ matrix()[:5]
    found = leading(delta, 8)
    assert missed(delta, found, 8) < 1e-7 * found.norm and len(found.spectrum.values) == 5


def test_a_few_rows_among_zeros_are_found():
    """Rows are drawn by their energies: of 90 at random few would be of these."""
    delta = np.zeros((90, 120))
    delta[[7, 50, 88]] = matrix()[:3]
    found = leading(delta, 3)
    assert len(found.spectrum.values) == 3 and missed(delta, found, 3) < 1e-7 * found.norm


def test_integers_and_numbers_beyond_squares_of_float32():
    whole_numbers = np.random.default_rng(0).integers(-9, 9, (60, 50))
    same = leading(whole_numbers.astype(float), 4)
    assert leading(whole_numbers, 4).error == pytest.approx(same.error)
    large = leading(matrix(dtype=np.float32) * np.float32(1e25), 8)
    assert large.error == pytest.approx(leading(matrix(), 8).error * 1e25, rel=1e-5)


@pytest.mark.parametrize("size", [(5, 9), (9, 5), (1, 4), (6, 6)])
def test_whole(size):
    delta = matrix(size)
    found = whole(delta)
    np.testing.assert_allclose(found.values, np.linalg.svd(delta, compute_uv=False), rtol=1e-7)
    a, b = found.prefix(9)
    np.testing.assert_allclose(a @ b, delta, atol=1e-12)


def test_zeros():
    found = leading(np.zeros((4, 6)), 2)
    assert found.error == found.norm == 0 and len(found.spectrum.values) == 0


@pytest.mark.parametrize(
    ("value", "rank", "words"),
    [
        (np.full((3, 3), np.nan), 1, "delta contains NaN"),
        (np.ones(3), 1, "delta has shape"),
        (np.ones((3, 3)), 0, "rank is 0"),
    ],
)
def test_refused(value, rank, words):
    with pytest.raises(ValueError, match=words):
        leading(value, rank)
