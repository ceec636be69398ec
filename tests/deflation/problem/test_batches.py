"""Batches of columns in one array that is filled anew, and targets that arrive in parts."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import Regression
from tests.deflation.problem.test_regression import collinear, same
from tests.deflation.problems import data, precision


@pytest.mark.parametrize("on", ["host", "device"])
def test_an_array_that_is_filled_anew_for_every_batch(on):
    x, y = data(n=40)
    columns = np.empty((x.shape[0], 4)), np.empty((y.shape[0], 4))

    def batches():
        for start in range(0, 40, 4):
            for whole, part in zip((x, y), columns, strict=True):
                part[:] = whole[:, start : start + 4]
            yield columns

    with precision("float64"):
        wanted = Regression.from_batches([(x, y)], on=on)
        same(Regression.from_batches(batches(), on=on), wanted)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.booleans())
def test_parts_of_any_size(sizes, degenerate):
    x, _ = collinear(9) if degenerate else data(n=40)
    y = np.random.default_rng(len(sizes)).normal(size=(sum(sizes), x.shape[1]))
    parts = np.split(y, np.cumsum(sizes)[:-1])
    with precision("float64"):
        wanted = Regression.from_batches([(x, y)])
        same(Regression.from_batches(iter(parts), x=x), wanted)
        turned = [part.T for part in parts]
        same(Regression.from_batches(turned, x=x.T, rows="samples"), wanted)


def test_the_targets_are_never_in_memory_together():
    """10 MB of targets, 50 kB at once, and a few copies of the (m, d) answer of 200 kB."""
    n, parts, m = 200, 200, 32
    x = np.random.default_rng(0).normal(size=(4, n))

    def targets():
        g = np.random.default_rng(1)
        for _ in range(parts):
            yield g.normal(size=(m, n))

    tracemalloc.start()
    try:
        problem = Regression.from_batches(targets(), x=x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem.shape == (parts * m, 4) and int(problem.freedom) == n - 4
    assert peak < parts * m * n * 8 / 5


def test_the_dtype_is_the_widest():
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    assert Regression.from_batches([x[:1], x], x=x).dtype == np.float32
    with precision("float64"):
        assert Regression.from_batches([x[:1], x.astype(np.float64)], x=x).dtype == np.float64


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "batches is empty; allowed with x is at least one array y of targets"),
        (3, "batches is 3; allowed with x are targets y"),
        ([np.ones((2, 6)), np.ones((2, 5))], "batch 1: x has shape"),
        ([np.ones((2, 6)), np.full((1, 6), np.nan)], "y of batch 1 contains NaN"),
        ([np.zeros((2, 6)), np.zeros((1, 6))], "y is all zeros"),
    ],
)
def test_parts_that_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Regression.from_batches(parts, x=np.arange(12.0).reshape(2, 6))
