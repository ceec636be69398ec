"""Singular values of a product from its factors, against the product itself."""

import numpy as np
import pytest

from finetune.adapters.method import Factors
from finetune.algebra.spectra import distance, joined, spectrum

SHAPES = [(7, 5, 3), (5, 7, 1), (4, 3, 6), (6, 6, 6), (3, 2, 0)]  # in, out, k: above both as well


def pair(size_in, size_out, rank, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    sizes = (size_in, rank), (rank, size_out)
    return Factors(*(rng.normal(size=size).astype(dtype) for size in sizes))


def hard(kind):
    a, b = pair(8, 6, 4)
    if kind == "equal columns":
        a[:, 1], b[1] = a[:, 0], b[0]
    elif kind == "tiny and huge":
        a, b = a * 10.0 ** np.array([0, -9, 3, -5]), b * 10.0 ** np.array([[2], [8], [-3], [6]])
    elif kind == "nearly dependent":
        a[:, 1] = a[:, 0] + 1e-6 * a[:, 1]
    elif kind == "zero component":
        b[2] = 0
    return Factors(a, b)


KINDS = ["equal columns", "tiny and huge", "nearly dependent", "zero component"]


def check(factors):
    product = factors.a @ factors.b
    u, values, vt = np.linalg.svd(product, full_matrices=False)
    found = spectrum(factors)
    scale = values[:1].sum()
    rank = len(found.values)
    assert rank == np.linalg.matrix_rank(product)
    # Nine digits of the root of a Gram matrix, of the largest value.
    np.testing.assert_allclose(found.values, values[:rank], rtol=0, atol=1e-9 * scale)
    for cut in range(rank + 1):
        a, b = found.prefix(cut)
        assert a.shape == (product.shape[0], cut) and b.shape == (cut, product.shape[1])
        best = (u[:, :cut] * values[:cut]) @ vt[:cut]
        error, least = np.linalg.norm(product - a @ b), np.linalg.norm(product - best)
        assert error <= least + 1e-8 * scale and abs(found.error(cut) - error) <= 1e-8 * scale
        np.testing.assert_allclose(np.linalg.norm(a, axis=0) ** 2, values[:cut], rtol=1e-7)
        np.testing.assert_allclose(np.linalg.norm(b, axis=1) ** 2, values[:cut], rtol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape(shape):
    check(pair(*shape))


@pytest.mark.parametrize("kind", KINDS)
def test_factors_that_are_badly_scaled(kind):
    check(hard(kind))


def test_zeros_have_rank_0():
    found = spectrum(Factors(np.ones((3, 2)), np.zeros((2, 4))))
    assert len(found.values) == 0 and found.norm == found.error(0) == 0
    assert found.prefix(5).a.shape == (3, 0) and found.prefix(5).b.shape == (0, 4)


def test_a_prefix_of_the_written_factors_is_the_best_smaller_one():
    factors = pair(9, 8, 5)
    a, b = spectrum(factors).prefix(5)
    values = np.linalg.svd(factors.a @ factors.b, compute_uv=False)
    for cut in range(5):
        error = np.linalg.norm(factors.a @ factors.b - a[:, :cut] @ b[:cut])
        assert error == pytest.approx(np.linalg.norm(values[cut:]), rel=1e-9)


def test_the_sum_of_changes_and_the_distance_of_two():
    first, second = pair(6, 5, 2, 1, np.float32), pair(6, 5, 3, 2)
    a, b = joined([first, second], [2.0, -0.5])
    expected = 2 * first.a.astype(float) @ first.b.astype(float) - 0.5 * second.a @ second.b
    np.testing.assert_allclose(a @ b, expected, atol=1e-12)
    assert a.dtype == b.dtype == np.float64
    away = np.linalg.norm(first.a.astype(float) @ first.b.astype(float) - second.a @ second.b)
    assert distance(first, second) == pytest.approx(away, rel=1e-12)
    assert distance(first, first) < 1e-12
