"""Drawn problems: their spectrum, design, first factors and noise; deterministic."""

import jax
import numpy as np
import pytest

from linear_theory.parallel import problems
from linear_theory.parallel.problems import COLUMNS, RANK, ROWS, SAMPLES, VALUES, draw

KEY = jax.random.key(0)
TRIALS = 4  # one shape, compiled once


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    "name", ["separated_spectrum", "slow_first_spectrum", "slow_last_spectrum"]
)
def test_spectra_fall_from_one_with_open_gaps(name):
    values = getattr(problems, name)(np.random.default_rng(0).random((500, 2 + VALUES)))
    assert values.shape == (500, VALUES)
    np.testing.assert_array_equal(values[:, 0], 1.0)
    assert (values > 0).all()
    assert (values[:, 1:] < 0.98 * values[:, :-1]).all()


def test_who_is_slow():
    uniform = np.random.default_rng(1).random((500, 2 + VALUES))
    first = problems.slow_first_spectrum(uniform)
    assert ((first[:, 1:] / first[:, :-1]).argmax(axis=1) == 0).all()
    last = problems.slow_last_spectrum(uniform)
    slowest = (last[:, 1:] / last[:, :-1]).argmax(axis=1)
    assert set(slowest) == {2, 3}


def test_the_target_has_the_drawn_spectrum_and_the_stated_factors():
    batch = draw(KEY, TRIALS, lambda uniform: np.tile(0.5 ** np.arange(VALUES), (len(uniform), 1)))
    np.testing.assert_allclose(
        batch.values, np.tile(0.5 ** np.arange(VALUES), (TRIALS, 1)), atol=1e-12
    )
    rebuilt = (batch.left * batch.values[:, None]) @ np.swapaxes(batch.right, 1, 2)
    np.testing.assert_allclose(rebuilt, batch.regression.target, atol=1e-12)
    assert batch.x.shape == (TRIALS, COLUMNS, SAMPLES)
    assert batch.y.shape == (TRIALS, ROWS, SAMPLES)


def test_design_and_what_lies_outside_it():
    white = draw(KEY, TRIALS, conditioning=1.0)
    np.testing.assert_allclose(
        white.x @ np.swapaxes(white.x, 1, 2), np.tile(np.eye(COLUMNS), (TRIALS, 1, 1)), atol=1e-12
    )
    values = np.linalg.svd(draw(KEY, TRIALS).x, compute_uv=False)
    assert values.max() <= 1 + 1e-12 and values.min() >= 0.1
    plain = draw(KEY, TRIALS, outside=0.0)
    np.testing.assert_allclose(plain.regression.energy, 0.0, atol=1e-20)
    assert (draw(KEY, TRIALS).regression.energy > 0.1).all()
    np.testing.assert_allclose(plain.y, plain.signal, atol=1e-12)


def test_cold_and_warm_first_factors():
    cold = draw(KEY, TRIALS)
    assert not np.any(cold.first.b) and np.all(cold.published == 0)
    warm = draw(KEY, TRIALS, near=True, size=0.0)
    assert np.all(warm.published == RANK)
    np.testing.assert_allclose(warm.first.a, np.swapaxes(warm.right, 1, 2)[:, :RANK], atol=1e-12)
    changed = draw(KEY, TRIALS, near=True, size=1e-3 * np.eye(TRIALS, RANK))
    moved = np.linalg.norm(changed.first.a - warm.first.a, axis=2) > 1e-6
    np.testing.assert_array_equal(moved, np.eye(TRIALS, RANK, dtype=bool))


def test_a_tilted_start_is_nearly_orthogonal_to_the_top_direction():
    plain, tilted = draw(KEY, TRIALS), draw(KEY, TRIALS, overlap=np.full(TRIALS, 1e-5))
    top = plain.right[:, :, 0]
    before = np.einsum("tkd,td->tk", plain.first.a, top)
    after = np.einsum("tkd,td->tk", tilted.first.a, top)
    np.testing.assert_allclose(after, 1e-5 * before, atol=1e-14)


def test_noise_is_added_to_the_same_problem():
    quiet, loud = (
        draw(KEY, TRIALS, outside=0.0),
        draw(KEY, TRIALS, outside=0.0, noise=np.full(TRIALS, 0.5)),
    )
    np.testing.assert_array_equal(quiet.signal, loud.signal)
    assert np.std(loud.y - loud.signal) == pytest.approx(0.5, rel=0.1)


def test_keys():
    np.testing.assert_array_equal(draw(KEY, TRIALS).y, draw(KEY, TRIALS).y)
    assert not np.array_equal(draw(KEY, TRIALS).y, draw(jax.random.key(1), TRIALS).y)
