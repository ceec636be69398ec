"""The one generator of problems: shapes, spectra, designs, noise, seeds and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory import Noise, simulate
from linear_theory.instances.simulate import (
    DESIGNS,
    SPECTRA,
    matrix_with_spectrum,
    orthonormal,
    spectrum,
)

KEY = jax.random.key(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


# Every design and every spectrum once: neither sees the other.
@pytest.mark.parametrize(
    ("design", "name"),
    [
        (design, name)
        if column % len(DESIGNS) == row or row % len(SPECTRA) == column
        else pytest.param(design, name, marks=pytest.mark.thorough)
        for row, design in enumerate(DESIGNS)
        for column, name in enumerate(SPECTRA)
    ],
)
def test_shapes_and_the_model(x64, design, name):
    n = 6 if design == "identity" else 9
    s = simulate(KEY, m=4, d=6, n=n, rank=3, spectrum=name, design=design, noise=0.1)
    assert (s.x.shape, s.y.shape, s.truth.shape, s.noise.shape) == ((6, n), (4, n), (4, 6), (4, n))
    np.testing.assert_allclose(s.y, s.truth @ s.x + s.noise, atol=1e-12)
    assert np.linalg.matrix_rank(s.truth) == 3


@pytest.mark.parametrize("name", ["uniform", "exponential", "power", "geometric", "harmonic"])
def test_the_truth_has_the_spectrum(x64, name):
    truth = simulate(KEY, m=7, d=5, n=6, rank=4, spectrum=name).truth
    values = np.linalg.svd(truth, compute_uv=False)
    np.testing.assert_allclose(values[:4], spectrum(name, 4), rtol=1e-10)
    np.testing.assert_allclose(values[4:], 0.0, atol=1e-10 * values[0])


def test_spectra_are_the_documented_ones(x64):
    np.testing.assert_allclose(spectrum("uniform", 3), [10.0, 10.0, 10.0])
    np.testing.assert_allclose(spectrum("exponential", 3), [100.0, 10.0, 1.0])
    np.testing.assert_allclose(spectrum("power", 3), [100.0, 25.0, 100 / 9])
    np.testing.assert_allclose(spectrum("geometric", 3, ratio=0.1), [1.0, 0.1, 0.01])
    np.testing.assert_allclose(spectrum("harmonic", 3), [1.0, 1 / 2, 1 / 3])
    assert spectrum("exponential", 1).tolist() == [100.0]


def test_random_spectra_have_gaps_of_comparable_size(x64):
    for seed in range(20):
        values = np.asarray(spectrum("random", 6, key=jax.random.key(seed)))
        gaps = -np.diff(values)
        assert values[0] == 1.0 and values[-1] > 0
        assert gaps.max() <= 6.0001 * gaps.min()


def test_a_spectrum_can_be_an_array(x64):
    truth = simulate(KEY, 4, 5, 8, rank=2, spectrum=[3, 2]).truth
    np.testing.assert_allclose(np.linalg.svd(truth, compute_uv=False)[:2], [3.0, 2.0])


def test_designs_are_normalised_as_they_say(x64):
    def x(design, n=9):
        return np.asarray(simulate(KEY, 3, 5, n, rank=2, design=design).x)

    np.testing.assert_allclose(np.linalg.norm(x("column"), axis=0), 1.0)
    np.testing.assert_allclose(np.linalg.norm(x("row"), axis=1), 1.0)
    np.testing.assert_allclose(x("orthonormal") @ x("orthonormal").T, np.eye(5), atol=1e-12)
    np.testing.assert_array_equal(x("identity", n=5), np.eye(5))
    assert np.std(x("gauss", n=4000)) == pytest.approx(1.0, abs=0.02)


def test_noise_levels(x64):
    def noise(level):
        return np.asarray(simulate(KEY, 20, 10, 2000, rank=2, noise=level).noise)

    assert np.std(noise(0.3)) == pytest.approx(0.3, rel=0.02)
    np.testing.assert_array_equal(noise(0.3), noise(Noise(0.3)))
    sparse = noise(Noise(0.3, density=0.05))
    kept = sparse != 0
    assert kept.mean() == pytest.approx(0.05, abs=0.005)
    # Sparse noise is the dense one, thinned out: the kept entries keep their distribution.
    np.testing.assert_array_equal(sparse[kept], noise(0.3)[kept])
    assert not noise(0.0).any()


# test_vmap_over_keys_spectra_and_noise draws one key at several levels.
@pytest.mark.thorough
def test_problems_that_differ_in_noise_share_everything_else():
    quiet, loud = (simulate(KEY, 4, 5, 9, rank=2, noise=level) for level in (0.0, 1.0))
    np.testing.assert_array_equal(quiet.x, loud.x)
    np.testing.assert_array_equal(quiet.truth, loud.truth)
    np.testing.assert_allclose(loud.y - quiet.y, loud.noise, atol=1e-4)


def test_seeds():
    first, again = (simulate(KEY, 4, 5, 9, rank=2, noise=1.0) for _ in range(2))
    other = simulate(jax.random.key(1), 4, 5, 9, rank=2, noise=1.0)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_dtype_is_the_default_float():
    assert {part.dtype for part in simulate(KEY, 4, 5, 9, rank=2)} == {jnp.float32.dtype}
    with jax.enable_x64(True):
        parts = simulate(KEY, 4, 5, 9, rank=2, spectrum=np.ones(2, np.float32))
        assert {part.dtype for part in parts} == {jnp.float64.dtype}


def test_vmap_over_keys_spectra_and_noise():
    def draw(key, values, level):
        return simulate(key, 4, 5, 9, rank=2, spectrum=values, noise=level)

    keys, values = jax.random.split(KEY, 3), jnp.arange(6.0).reshape(3, 2) + 1
    batch = jax.vmap(draw)(keys, values, jnp.array([0.0, 0.1, 0.2]))
    assert batch.y.shape == (3, 4, 9)
    alone = draw(keys[2], values[2], 0.2)
    np.testing.assert_allclose(batch.y[2], alone.y, rtol=1e-5, atol=1e-5)


def test_factors_are_orthonormal_and_reach_both_signs(x64):
    q = orthonormal(KEY, 6, 3)
    np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-12)
    # Without the sign of R's diagonal, Householder QR would fix the sign of the first entry.
    corners = jax.vmap(lambda key: orthonormal(key, 3, 3)[0, 0])(jax.random.split(KEY, 200))
    assert 0.35 < float((corners > 0).mean()) < 0.65
    assert matrix_with_spectrum(KEY, 3, 4, jnp.ones(2)).shape == (3, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, r"rank is 0; allowed are integers from 1 to min\(m, d\) = 4"),
        ({"rank": 5}, "rank is 5"),
        ({"n": 0}, "n is 0; allowed are integers >= 1"),
        ({"spectrum": "flat"}, "spectrum is 'flat'; allowed are"),
        ({"spectrum": jnp.ones(3)}, r"spectrum has shape \(3,\); allowed is \(2,\)"),
        ({"design": "hilbert"}, "design is 'hilbert'; allowed are"),
        ({"design": "identity"}, "n is 9 under design='identity'; allowed is n == d == 5"),
        ({"design": "orthonormal", "n": 4}, "n is 4 under design='orthonormal'"),
        ({"noise": -0.1}, "std of the noise is -0.1"),
        ({"noise": float("nan")}, "std of the noise is nan"),
    ],
)
def test_refusals(change, message):
    arguments = {"m": 4, "d": 5, "n": 9, "rank": 2} | change
    with pytest.raises(ValueError, match=message):
        simulate(KEY, **arguments)


@pytest.mark.parametrize("density", [0.0, -0.5, 1.5, float("nan")])
def test_density_is_a_share(density):
    with pytest.raises(ValueError, match="density of the noise"):
        Noise(1.0, density)


def test_a_random_spectrum_needs_a_key():
    with pytest.raises(ValueError, match="'random' needs a key"):
        spectrum("random", 3)
