import jax
import numpy as np
import pytest

from linear_theory.sequential.cascade import recovery

VALUES = np.array([4.0, 3.0])
ERRORS = np.array([0.1, 0.02])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_component_bound_by_hand():
    # T_2 = 3: 1 + 6 s/T = 7, E(2) = 0.1.
    got = recovery.component_bound(VALUES, ERRORS, 0.5)
    np.testing.assert_allclose(got, [0.2, (0.02 + 7 * 0.1) / 0.5])


def test_map_bounds_by_hand():
    # rho_2 = 8: E(2) = 0.1, E(3) = 0.82; X has singular values from 0.5 to 2.
    own = np.array([6.0, 8.0])
    got = recovery.map_bound(own, VALUES, ERRORS, 0.5, 2.0)
    np.testing.assert_allclose(got, [4 * 10.0, 4 * 8 + 0.2, 0.2 + 1.64])
    got = recovery.map_bound_single(VALUES, ERRORS, 0.5)
    np.testing.assert_allclose(got, [10.0, 6.2, 1.64])
    got = recovery.map_bound_gap_free(VALUES, ERRORS, 0.5)
    np.testing.assert_allclose(got, [10.0, 6.2, 0.24])


def test_noisy_map_bounds_by_hand():
    # T = (1, 3), factors (53, 17); Lemma 4: (3 + 12) eta, sqrt(2) 3 eta.
    got = recovery.noisy_map_bound(VALUES, VALUES, ERRORS, 1.0, 1.0, 0.1)
    cascade = np.array([0.0, 0.1, 0.1 + 1.72])
    moved = np.array([0.0, 1.5, 0.3 * np.sqrt(2)])
    np.testing.assert_allclose(got, np.array([5.0, 3.0, 0.0]) + cascade + moved)
    got = recovery.noisy_map_bound_gap_free(VALUES, ERRORS, 0.5, 2, 0.1)
    noise = 0.2 * np.sqrt([2.0, 3.0, 4.0])
    np.testing.assert_allclose(got, (np.array([5.0, 3.1, 0.12]) + noise) / 0.5)


def test_extreme_values_per_instance():
    values, errors = np.stack([VALUES] * 3), np.stack([ERRORS] * 3)
    small, large = np.array([[0.5], [1.0], [2.0]]), np.array([[2.0], [2.0], [2.0]])
    got = recovery.map_bound(values, values, errors, small, large)
    assert got.shape == (3, 3)
    np.testing.assert_allclose(got[0], 4 * got[2])
    noise = np.array([[0.1], [0.2], [0.0]])
    got = recovery.noisy_map_bound(values, values, errors, small, large, noise)
    assert got.shape == (3, 3)


def test_a_zero_gap_gives_infinity_and_no_nan():
    values, errors = np.array([2.0, 2.0, 1.0]), np.zeros(3)
    for got in (
        recovery.map_bound(values, values, errors, 1.0, 1.0),
        recovery.map_bound_single(values, errors, 1.0),
        recovery.noisy_map_bound(values, values, errors, 1.0, 1.0, 0.0),
    ):
        assert not np.isnan(got).any() and np.isposinf(got[1:]).all()
    assert np.isposinf(recovery.component_bound(values, errors, 1.0)[0])
    assert np.isfinite(recovery.map_bound_gap_free(values, errors, 1.0)).all()


def test_noise_radii_by_hand():
    # sqrt(2 ln(1/miss)) = 2 at miss = e^-2.
    miss = np.exp(-2.0)
    assert float(recovery.noise_radius(9, 16, 0.5, miss)) == pytest.approx(4.5)
    assert float(recovery.noise_radius_frobenius(9, 16, 0.5, miss)) == pytest.approx(7.0)


@pytest.mark.parametrize("radius", [recovery.noise_radius, recovery.noise_radius_frobenius])
def test_an_empty_noise_is_refused(radius):
    with pytest.raises(ValueError, match="sides"):
        radius(0, 3, 1.0, 0.1)


def test_more_errors_than_values_are_refused():
    for bound in (recovery.map_bound_single, recovery.map_bound_gap_free):
        with pytest.raises(ValueError, match="errors has 3 steps"):
            bound(VALUES, np.ones(3), 1.0)
