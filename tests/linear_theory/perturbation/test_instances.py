import jax
import numpy as np
import pytest

from linear_theory.perturbation import instances as pairs
from linear_theory.perturbation.theory import spectral_gaps

TRIALS = 32


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_matrices_have_the_stated_rank_and_scale():
    drawn = pairs.draw_pairs(jax.random.key(0), TRIALS)
    ranks = np.linalg.matrix_rank(drawn.matrix, tol=1e-9)
    np.testing.assert_array_equal(ranks, drawn.rank)
    assert set(ranks) <= {1, 2, 3, 4, 5} and len(set(ranks)) > 2
    np.testing.assert_allclose(np.linalg.norm(drawn.matrix, 2, axis=(1, 2)), 1.0)


@pytest.mark.parametrize("shape", pairs.SHAPES)
def test_shapes_are_what_they_say(shape):
    drawn = pairs.draw_pairs(jax.random.key(1), TRIALS, shape)
    values = np.linalg.svd(drawn.perturbation, compute_uv=False)
    ranks = (values > 1e-9 * values[:, :1]).sum(axis=1)
    expected = {"dense": 6, "values": 6, "mixing": 2, "closing": 2, "flat": 6}[shape]
    np.testing.assert_array_equal(ranks, expected)
    if shape == "flat":
        np.testing.assert_allclose(values, values[:, :1] * np.ones(6))
    compared = pairs.compare(drawn)
    if shape == "values":
        # The top pair stays, or another one takes its place.
        assert (np.minimum(compared.sines, abs(compared.sines - np.sqrt(2)))[:, 0] < 1e-9).all()
    if shape == "closing":
        # By at least 0.8 cos(0.5) of the gap at the index that was drawn.
        before, after = spectral_gaps(compared.values), spectral_gaps(compared.moved_values)
        assert ((after / np.where(before > 1e-9, before, np.inf)) < 0.8).any(axis=1).mean() > 0.5


def test_comparison_by_numpy():
    drawn = pairs.draw_pairs(jax.random.key(2), TRIALS)
    compared = pairs.compare(drawn)
    for i in range(5):
        old, change = np.asarray(drawn.matrix[i]), np.asarray(drawn.perturbation[i])
        u, s, vt = np.linalg.svd(old + change)
        cut = u[:, :2] * s[:2] @ vt[:2]
        np.testing.assert_allclose(compared.error[i, 1], np.linalg.norm(cut - old), atol=1e-12)
        np.testing.assert_allclose(compared.norm[i, 0], np.linalg.norm(change))
        np.testing.assert_allclose(compared.norm_spectral[i, 0], np.linalg.norm(change, 2))
        u_old, _, vt_old = np.linalg.svd(old)
        cosines = abs(u_old[:, 0] @ u[:, 0]), abs(vt_old[0] @ vt[0])
        sines = np.sqrt(max(0.0, 2 - cosines[0] ** 2 - cosines[1] ** 2))
        np.testing.assert_allclose(compared.sines[i, 0], sines, atol=1e-7)


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="shape is 'round'"):
        pairs.draw_pairs(jax.random.key(0), 2, "round")
