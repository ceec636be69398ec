"""The Lambert-W warm-up: against scipy, by hand, and the inequality it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import lambertw

from linear_theory.parallel.self_correction import warm_up


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_lambert_is_the_lower_branch_of_scipy():
    x = np.concatenate([np.geomspace(1e-300, 0.3, 200), 1 / np.e - np.geomspace(1e-4, 0.05, 50)])
    np.testing.assert_allclose(warm_up.lambert(x), -lambertw(-x, -1).real, rtol=1e-11)


def test_lambert_solves_its_equation_to_rounding():
    """Near u = 1, where the start is worst; a Newton step fewer leaves 5e-7."""
    u = np.geomspace(0.1, 100, 200)
    w = np.asarray(warm_up.lambert(np.exp(-1 - u)))
    np.testing.assert_allclose(w - np.log(w), 1 + u, rtol=1e-13)


def test_lambert_at_the_branch_point():
    """w = 1 + sqrt(2 u) + 2 u / 3 + ..., u = -ln x - 1; scipy itself loses its digits there."""
    u = np.geomspace(1e-12, 1e-6, 20)
    np.testing.assert_allclose(
        warm_up.lambert(np.exp(-1 - u)), 1 + np.sqrt(2 * u) + 2 * u / 3, rtol=0, atol=3e-8
    )


def test_lambert_at_the_ends():
    got = warm_up.lambert(jnp.array([0.0, 1 / jnp.e, 0.5, 7.0, jnp.inf]))
    np.testing.assert_allclose(got, [np.inf, 1.0, 1.0, 1.0, 1.0], rtol=1e-7)
    assert np.isnan(warm_up.lambert(-1.0))
    assert warm_up.lambert(jnp.float32(0.1)).dtype == jnp.float32


def test_lambert_under_jit_and_vmap():
    x = jnp.geomspace(1e-8, 0.3, 5)
    np.testing.assert_array_equal(jax.jit(jax.vmap(warm_up.lambert))(x), warm_up.lambert(x))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.99), st.floats(-30, 2), st.floats(0, 50))
def test_waiting_is_long_enough(rate, log_level, more):
    level = np.exp(log_level)
    rounds = float(warm_up.rounds_until(jnp.asarray(rate), jnp.asarray(level))) + more
    assert rounds * rate**rounds <= level * (1 + 1e-9)


def test_waiting_is_not_too_long():
    rate, level = jnp.asarray(0.7), jnp.asarray(1e-3)
    rounds = warm_up.rounds_until(rate, level)
    assert float(rounds * rate**rounds) == pytest.approx(1e-3)


def test_the_first_proved_rate_is_the_first_contraction():
    contraction = jnp.array([[0.3, 0.1, 0.1], [0.9, 0.99, 0.2]])
    rates = np.asarray(warm_up.proved_rates(contraction))
    np.testing.assert_array_equal(rates[:, 0], [0.3, 0.9])
    np.testing.assert_allclose(rates[0], [0.3, 0.65, 1 / 3 + 2 / 3 * 0.65])
    np.testing.assert_allclose(rates[1], [0.9, 0.99, 1 / 3 + 2 / 3 * 0.99])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=4, max_size=4))
def test_proved_rates_increase_and_are_contractions(contraction):
    rates = np.asarray(warm_up.proved_rates(jnp.array(contraction)))
    assert (np.diff(rates) > 0).all() and rates[-1] < 1
    assert (rates >= np.array(contraction)).all()


def test_equal_contractions_lose_one_over_k():
    rates = warm_up.proved_rates(jnp.full(6, 0.4))
    np.testing.assert_allclose(1 - rates, 0.6 / np.arange(1, 7))


def test_warm_up_by_hand():
    values, rates = jnp.array([1.0, 0.5]), jnp.array([0.25, 0.625])
    kappa, gate = 3.0, 0.5
    couplings = jnp.array([[0.0, 0.0], [kappa, 0.0]])
    decay = np.log(4.0)

    def what(x):
        return -lambertw(-x, -1).real if x < 1 / np.e else 1.0

    p = 1 / np.log(0.625 / 0.25) - 1
    q = what(decay * 0.25 * gate * 0.5 / 6) / decay
    t = what(decay * 0.25 * 0.625 / kappa) / decay - 1
    expected = np.ceil(2 + max(p, q, t))
    got = warm_up.warm_up_rounds(values, rates, jnp.array([2.0, 1.0]), couplings, gate)
    np.testing.assert_array_equal(got, [2.0, expected])
    late = warm_up.warm_up_rounds(values, rates, jnp.array([2.0, 40.0]), couplings, gate)
    np.testing.assert_array_equal(late, [2.0, 40.0])


def test_the_third_worker_shares_what_it_may_see_between_two():
    """Of gate T_3 each of its two predecessors may leave half, in units of s_j and of A."""
    values, rates = np.array([1.0, 0.75, 0.5]), np.array([0.25, 0.3, 0.9])
    # So weak a coupling that q decides, and a gap T_3 = 0.5 shared by two.
    couplings, gate, amplitude = 1e-9 * np.tri(3, k=-1), 0.5, 6.0
    waits = []
    for m, s in zip(rates[:2], values[:2], strict=True):
        level = m * gate * 0.5 / (amplitude * 2 * s)
        waits.append(-lambertw(level * np.log(m), -1).real / -np.log(m))
    first, second, third = warm_up.warm_up_rounds(values, rates, np.ones(3), couplings, gate)
    assert third == np.ceil(max(first + waits[0], second + waits[1]))


def test_warm_up_grows_with_amplitude_coupling_and_closing_gap():
    rates, burn_in = jnp.array([0.25, 0.625]), jnp.ones(2)
    couplings = jnp.array([[0.0, 0.0], [1.0, 0.0]])

    def second(gap=0.4, coupling=1.0, amplitude=6.0):
        values = jnp.array([1.0, 0.5, 0.5 - gap])
        return float(
            warm_up.warm_up_rounds(values, rates, burn_in, coupling * couplings, 0.5, amplitude)[1]
        )

    assert second(amplitude=1.5) < second(amplitude=600.0)
    assert second() < second(coupling=1e4)
    assert second() < second(gap=1e-4) < second(gap=0.0) == np.inf


def test_printed_warm_up_by_hand():
    values, m = jnp.array([2.0, 1.0]), 0.25
    decay = np.log(4.0)
    base = max(1.0 / decay, (m + 1) / (1 - m))
    level = 1 / (12 * 2) * decay**2
    expected = np.ceil(1 + base - lambertw(-level, -1).real / decay)
    got = warm_up.warm_up_rounds_printed(values, jnp.array([m, 0.7]))
    np.testing.assert_array_equal(got, [1.0, expected])


def test_settled_bound_starts_one_round_before_the_warm_up_ends():
    bound = warm_up.settled_bound(jnp.array([0.5, 0.5]), jnp.array([1.0, 3.0]), np.arange(5), 2.0)
    np.testing.assert_array_equal(bound[:, 0], [2.0, 2.0, 1.5, 1.0, 0.625])
    np.testing.assert_array_equal(bound[:, 1], [np.inf, np.inf, 2.0, 2.0, 1.5])
