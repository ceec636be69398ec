import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_theory.perturbation import theory as pt

VALUES = np.array([3.0, 2.0, 2.0, 0.5])
CONSTANTS = (
    pt.gap_ratio,
    pt.rank_one_source_constant,
    pt.rank_one_improved_constant,
    lambda values: pt.rank_one_integrated_constant(values, 0.1),
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_gaps_end_with_the_last_value():
    np.testing.assert_allclose(pt.spectral_gaps(VALUES), [1.0, 0.0, 1.5, 0.5])
    np.testing.assert_array_equal(pt.gaps_open(VALUES), [True, False, True, True])


def test_a_gap_at_the_floor_is_closed():
    values = np.array([1.0, 1.0 - 1e-12, 0.5])
    np.testing.assert_array_equal(pt.gaps_open(values), [False, True, True])


def test_a_gap_above_the_floor_is_open_and_its_ratio_is_right():
    gap = 2e-12
    values = np.array([1.0, 1.0 - gap, 0.5])
    np.testing.assert_array_equal(pt.gaps_open(values), [True, True, True])
    # 1 - gap is rounded by half a unit in the last place, 1e-16.
    assert pt.gap_ratio(values)[0] == pytest.approx(1 / gap, rel=1e-4)


@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_zero_gap_gives_infinity_and_no_nan(constant):
    got = constant(np.array([[2.0, 2.0, 1.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(np.isposinf(got), [[True, False, False], [True, True, True]])
    assert not np.isnan(got).any()


def test_constants_by_hand():
    np.testing.assert_allclose(pt.gap_ratio(VALUES), [3.0, np.inf, 4 / 3, 1.0])
    np.testing.assert_allclose(pt.rank_one_source_constant(VALUES)[0], 19.0)
    np.testing.assert_allclose(pt.rank_one_improved_constant(VALUES)[0], 11.0)


def test_integrated_constant_by_hand():
    # t = 1/2 at ||E|| = T / (2 sqrt 2): L = 2 ln 2.
    distance = 1.0 / (2 * math.sqrt(2))
    got = pt.rank_one_integrated_constant(np.array([3.0, 2.0]), distance)[0]
    stretch = 2 * math.log(2)
    assert got == pytest.approx(3 * stretch + (stretch - 1) / math.sqrt(2), rel=1e-14)


def test_integrated_constant_starts_at_the_local_one_and_ends_at_the_gap():
    values = np.array([3.0, 2.0])
    for distance in (0.0, 1e-300, 1e-12):
        got = pt.rank_one_integrated_constant(values, distance)
        np.testing.assert_allclose(got, pt.gap_ratio(values), rtol=1e-11)
    got = pt.rank_one_integrated_constant(values, 1 / math.sqrt(2) + 1e-9)
    assert np.isposinf(got[0]) and np.isfinite(got[1])


def test_sin_theta_bound_without_a_gap():
    got = pt.sin_theta_bound(np.array([1.0, 1.0, 0.0]), np.array([2.0, -1.0, 0.0]))
    np.testing.assert_array_equal(got, [0.5, np.inf, np.inf])


@given(st.floats(0.01, 0.99), st.floats(0, 0.7), st.floats(0, 2 * math.pi))
@settings(deadline=None, max_examples=25)
def test_integrated_constant_bounds_a_plane_problem(second, share, angle):
    """Diagonal (1, s_2) under a perturbation of the plane, with the distance in closed form."""
    gap = 1 - second
    with jax.enable_x64(True):
        change = (
            share
            * gap
            * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            / math.sqrt(2)
        )
        left, values, right = np.linalg.svd(np.diag([1.0, second]) + change)
        moved = values[0] * np.outer(left[:, 0], right[0])
        shift = np.linalg.norm(moved - np.diag([1.0, 0.0]))
        distance = share * gap
        constant = pt.rank_one_integrated_constant(np.array([1.0, second]), distance)[0]
        assert shift <= float(constant) * distance * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("function", [pt.spectral_gaps, pt.gaps_open, *CONSTANTS])
def test_an_empty_spectrum_is_refused(function):
    for shape in ((), (3, 0)):
        with pytest.raises(ValueError, match="singular_values"):
            function(np.ones(shape))


def test_dtype_is_kept():
    values = jnp.array([2.0, 1.0], dtype=jnp.float32)
    assert all(constant(values).dtype == jnp.float32 for constant in CONSTANTS)
    assert pt.spectral_gaps([2, 1]).dtype == jnp.float64
