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
