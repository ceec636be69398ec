import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_theory.structure.rank_choice import theory

SIZES = st.lists(st.floats(0.1, 10), min_size=2, max_size=5).map(np.array)
SLOPES = st.floats(0.55, 5)


def left(values, ranks):
    return sum(np.sum(own[r:] ** 2) for own, r in zip(values, ranks, strict=True))


@settings(max_examples=30, deadline=None)
@given(SIZES, SLOPES)
def test_the_gain_lies_between_that_of_steep_spectra_and_none(scales, slope):
    gain, steep = theory.gain(scales, slope), theory.gain(scales, np.inf)
    assert steep - 1e-12 <= gain <= 1 + 1e-12
    assert theory.gain(3 * scales, slope) == pytest.approx(gain)
    assert theory.gain(scales, 0.5) == pytest.approx(1)
    mean = np.mean(scales ** (1 / slope)) ** slope
    assert theory.power_mean(scales, 1 / slope) == pytest.approx(mean)


@pytest.mark.parametrize("slope", [0.7, 1.0, 2.5])
def test_the_bounds_meet_at_the_gain(slope):
    scales = np.array([0.5, 1.0, 3.0])
    low, high, least = theory.power_bounds(scales, np.array(slope), np.array(1e6))
    assert low == pytest.approx(high, rel=1e-4) == theory.gain(scales, slope)
    # With one component a map the ranks that are best for the smallest are below 1.
    low, high, least = theory.power_bounds(scales, np.array(slope), np.array(1.0))
    assert least < 1 and high == np.inf and low < theory.gain(scales, slope)


@pytest.mark.parametrize("ratio", [0.3, 0.8])
def test_tails_are_sums(ratio):
    scales, ranks, i = np.array([1.0, 2.0]), np.array([0, 3]), np.arange(1, 200_001)
    power = left(scales[:, None] * i**-1.5, ranks)
    assert theory.power_left(scales, np.array(1.5), ranks) == pytest.approx(power)
    exponential = left(scales[:, None] * ratio ** i[:500], ranks)
    found = theory.exponential_left(scales, np.array(ratio), ranks)
    assert found == pytest.approx(exponential)


@pytest.mark.parametrize("most", [1.5, 4.0, 100.0])
def test_the_ratio_of_specht_is_reached_by_two_values(most):
    share = np.linspace(0, 1, 100_001)
    means = share * most + (1 - share)
    ratios = means / most**share
    assert np.max(ratios) == pytest.approx(float(theory.specht(most)))


def test_a_law_is_found_again():
    rng = np.random.default_rng(1)
    scales = np.exp(rng.standard_normal(7))
    values = scales[:, None] * np.arange(1, 17) ** -0.6
    slope, found = theory.fitted(values)
    assert slope == pytest.approx(0.6) and np.allclose(found, scales)
    gains = [float(theory.gain(np.exp(t * rng.standard_normal(10**6)), 0.8)) for t in (0.2, 0.5)]
    assert gains == pytest.approx(theory.gain_lognormal(0.8, np.array([0.2, 0.5])), rel=0.01)
