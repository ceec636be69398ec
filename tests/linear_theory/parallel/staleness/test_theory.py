"""Stale predecessors: the recursions by hand, the examples, and every claim with its control."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory import registry
from linear_theory.parallel.self_correction import late_phase
from linear_theory.parallel.self_correction import theory as self_correction
from linear_theory.parallel.staleness import claims_rates as staleness_claims
from linear_theory.parallel.staleness import claims_rounds as staleness_rounds_claims
from linear_theory.parallel.staleness import theory as staleness

CLAIMS = (*staleness_claims.CLAIMS, *staleness_rounds_claims.CLAIMS)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_claims_are_new_and_registered():
    assert {claim.name for claim in CLAIMS} <= set(registry())
    assert {claim.status for claim in CLAIMS} == {"new"} and len(CLAIMS) == 6


def random_system(seed=0):
    """Couplings (3, 3), contractions and a start (3,), all positive."""
    numbers = np.random.default_rng(seed).random((5, 3))
    return np.tril(numbers[:3], -1), 0.9 * numbers[3], numbers[4]


@pytest.mark.parametrize("tau", [0, 1, 3])
def test_delayed_envelope_is_the_recursion(tau):
    kappa, rate, start = random_system()
    path = [start]
    for number in range(1, 12):
        before = path[max(number - 1 - tau, 0)]
        path.append(rate * path[-1] + kappa @ before)
    got = staleness.delayed_envelope(kappa, rate, start, 11, tau)
    np.testing.assert_allclose(got, path, rtol=1e-12)


def test_without_staleness_the_envelope_is_that_of_theorem_a():
    kappa, rate, start = map(jnp.asarray, random_system())
    expected = self_correction.envelope(kappa, rate, start, 9)
    got = staleness.delayed_envelope(kappa, rate, start, 9, 0)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tau", [0, 1, 4])
def test_the_closed_form_is_above_the_recursion(tau, seed):
    kappa, rate, start = random_system(seed)
    m = (1 + rate.max()) / 2
    constants = np.asarray(staleness.geometric_constants(kappa, rate, start, m, tau))
    path = np.asarray(staleness.delayed_envelope(kappa, rate, start, 60, tau))
    assert np.all(path <= constants * m ** np.arange(61)[:, None] * (1 + 1e-12))


def test_the_closed_form_gains_a_factor_per_stage():
    """A chain 1 -> 2 -> 3 in which the driven term decides."""
    kappa, rate = np.diag([5.0, 5.0], -1), np.array([0.5, 0.1, 0.1])
    start = np.array([1.0, 0.0, 0.0])
    plain, stale = (staleness.geometric_constants(kappa, rate, start, 0.5, t) for t in (0, 2))
    np.testing.assert_allclose(stale / plain, [1, 0.5**-2, 0.5**-4])


def test_no_room_for_a_rate_is_no_bound():
    kappa, rate, start = np.tril(np.ones((2, 2)), -1), np.array([0.5, 0.5]), np.ones(2)
    got = staleness.geometric_constants(kappa, rate, start, 0.5, 1)
    assert got.tolist() == [1.0, np.inf]


def test_the_law_reads_the_modes_of_the_round_that_was_seen():
    values = jnp.array([3.0, 2.0, 1.0])
    g = np.random.default_rng(0)
    modes = jnp.asarray(1e-3 * g.normal(size=(5, 2, 3)))
    fresh = staleness.stale_first_order_errors(modes, values, 0)
    np.testing.assert_allclose(
        fresh, late_phase.first_order_errors(modes[1:], modes[:-1], values[None])
    )
    stale = staleness.stale_first_order_errors(modes, values, 2)
    one = late_phase.first_order_errors(modes[4], modes[1], values)
    np.testing.assert_allclose(stale[3], one)
    start = late_phase.first_order_errors(modes[1], modes[0], values)
    np.testing.assert_allclose(stale[0], start)


def test_exact_rounds():
    np.testing.assert_array_equal(staleness.exact_from(4, 0), [1, 2, 3, 4])
    np.testing.assert_array_equal(staleness.exact_from(3, 1), [1, 3, 5])
