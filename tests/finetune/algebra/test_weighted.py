"""Cuts and merges measured on inputs, against least squares on the inputs themselves."""

import numpy as np
import pytest

from finetune.adapters.method import Factors
from finetune.algebra import weighted
from finetune.algebra.spectra import spectrum


def made(seed, rows=20, size_in=6, size_out=5, rank=4):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, size_in)) * 10.0 ** rng.uniform(-1, 1, size_in)
    return inputs, Factors(rng.normal(size=(size_in, rank)), rng.normal(size=(rank, size_out)))


def tails(matrix):
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    # Zeros for ranks above the least side.
    return np.sqrt(np.append(np.cumsum(squares[::-1])[::-1], np.zeros(3)))


@pytest.mark.parametrize("rows", [20, 3])  # 3: a singular Gram matrix
def test_resize_attains_the_least_error_at_every_rank(rows):
    inputs, change = made(0, rows)
    found = weighted.resized(change, inputs.T @ inputs, 4)
    full, least = inputs @ change.a @ change.b, tails(inputs @ change.a @ change.b)
    np.testing.assert_allclose(found.errors, least[:5], atol=1e-6 * least[0])
    a, b = found.factors
    for rank in range(5):
        error = np.linalg.norm(full - inputs @ a[:, :rank] @ b[:rank])
        assert error == pytest.approx(least[rank], abs=1e-6 * least[0])
    plain = spectrum(change).prefix(2)  # the control: without the inputs it is worse
    assert np.linalg.norm(full - inputs @ plain.a @ plain.b) > 1.01 * least[2] or rows == 3


def test_merge_attains_the_least_error_of_reduced_rank_regression():
    pairs = [made(seed) for seed in range(3)]
    grams = [inputs.T @ inputs for inputs, _ in pairs]
    found = weighted.merged([change for _, change in pairs], grams, 3)
    x = np.concatenate([inputs for inputs, _ in pairs])
    y = np.concatenate([inputs @ change.a @ change.b for inputs, change in pairs])
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    least = np.hypot(tails(fitted), np.linalg.norm(y - fitted))
    np.testing.assert_allclose(found.errors, least[:4], rtol=1e-8)
    a, b = found.factors
    for rank in range(4):
        error = np.linalg.norm(y - x @ a[:, :rank] @ b[:rank])
        assert error == pytest.approx(least[rank], rel=1e-8)


def test_a_merge_of_one_is_its_resize():
    inputs, change = made(4)
    gram = inputs.T @ inputs
    one, two = weighted.resized(change, gram, 2), weighted.merged([change], [gram], 2)
    np.testing.assert_allclose(one.factors.a @ one.factors.b, two.factors.a @ two.factors.b)


NAN = np.full((6, 6), np.nan)
SKEW = np.eye(6) + np.triu(np.ones((6, 6)), 1)


@pytest.mark.parametrize(
    ("gram", "rank", "words"),
    [
        (NAN, 1, "gram contains NaN"),
        (np.eye(5), 1, r"gram has shape \(5, 5\); allowed is \(6, 6\)"),
        (SKEW, 1, "gram is not symmetric"),
        (-np.eye(6), 1, "negative diagonal"),
        (np.eye(6), 0, "rank is 0"),
    ],
)
def test_refused(gram, rank, words):
    with pytest.raises(ValueError, match=words):
        weighted.resized(made(0)[1], gram, rank)


def test_one_gram_for_each():
    with pytest.raises(ValueError, match="0 matrices for 1 changes"):
        weighted.merged([made(0)[1]], [], 1)
