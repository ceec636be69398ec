"""Moments summed on the device: the problem of the host's factorisation, or a warning."""

import itertools
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from deflation import Regression
from deflation.problem import streamed

D, M, N = 8, 3, 700


def data(condition=1.0, columns=N, dtype="float32"):
    g = np.random.default_rng(0)
    turn = np.linalg.qr(g.normal(size=(D, D)))[0]
    white = g.normal(size=(D, columns))
    x = (turn * np.geomspace(1, 1 / condition, D)) @ white
    y = g.normal(size=(M, D)) @ white + g.normal(size=(M, columns))
    return x.astype(dtype), y.astype(dtype)


def cut(x, y, *ends):
    edges = [0, *ends, x.shape[1]]
    return [(x[:, a:b], y[:, a:b]) for a, b in itertools.pairwise(edges)]


def apart(one, other):
    return np.linalg.norm(one.target - other.target) / np.linalg.norm(other.target)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(streamed, "BLOCK", 64)


@pytest.mark.parametrize("ends", [(), (3, 64, 65, 400), (350,)])
def test_the_same_problem_as_on_the_host(ends):
    batches = cut(*data(condition=5.0), *ends)
    host = Regression.from_batches(batches)
    device = Regression.from_batches(iter(batches), on="device")
    assert apart(device, host) < 1e-5
    assert device.dtype == host.dtype and device.freedom == host.freedom == N - D
    np.testing.assert_allclose(device.unexplained, host.unexplained, rtol=1e-4)
    for name in ("whitener", "root"):
        np.testing.assert_allclose(getattr(device, name), getattr(host, name), atol=1e-4)


def test_a_stream_may_come_in_one_memory():
    x, y = data(condition=5.0)
    memory = np.empty((D, 50), x.dtype), np.empty((M, 50), y.dtype)

    def stream():
        for first in range(0, N, 50):
            for part, whole in zip(memory, (x, y), strict=True):
                part[:] = whole[:, first : first + 50]
            yield memory

    assert apart(Regression.from_batches(stream(), on="device"), Regression.from_data(x, y)) < 1e-5


def test_samples_in_rows_and_integers():
    x, y = (np.round(4 * part).astype(int) for part in data())
    host = Regression.from_batches([(x, y)])
    device = Regression.from_batches([(x.T, y.T)], rows="samples", on="device")
    assert apart(device, host) < 1e-5


@pytest.mark.parametrize("condition", [300.0, 1e5])
def test_a_condition_that_is_too_large_is_said(condition):
    batches = cut(*data(condition))
    host = Regression.from_batches(batches)
    with pytest.warns(UserWarning, match=r"on is 'device'.*condition .*on='host' is exact"):
        device = Regression.from_batches(batches, on="device")
    assert apart(device, host) > 1e-6


@pytest.mark.parametrize("condition", [1.0, 10.0, 30.0, 100.0])
def test_what_is_not_said_is_close(condition):
    batches = cut(*data(condition))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        device = Regression.from_batches(batches, on="device")
    assert said or apart(device, Regression.from_batches(batches)) < streamed.CLOSE


def test_sums_lose_nothing_that_a_product_has():
    total, rest = (jnp.zeros((2, 1)) for _ in range(2))
    small = jnp.full((1, 1), 1e-2)
    total, rest = streamed._added(total, rest, jnp.full((1, 1), 1e2), jnp.full((1, 1), 1e2))
    for _ in range(100):  # each below half a unit of the last place of 1e4
        total, rest = streamed._added(total, rest, small, small)
    exact = 1e4 + 100 * np.float64(np.float32(1e-2)) ** 2
    summed = np.asarray(total, np.float64) + np.asarray(rest)
    np.testing.assert_allclose(summed, exact, rtol=1e-9)
    assert np.all(np.asarray(total) == 1e4)


@pytest.mark.parametrize(
    ("batches", "text"),
    [([], "at least one pair"), ([(np.ones((2, 3)), np.zeros((1, 3)))], "y is all zeros")],
)
def test_nothing_to_learn_from(batches, text):
    with pytest.raises(ValueError, match=text):
        Regression.from_batches(batches, on="device")


def test_where_is_a_word():
    with pytest.raises(ValueError, match=r"on is 'gpu'; allowed are 'host', 'device'"):
        Regression.from_batches([data()], on="gpu")
