"""Formulas of parallel deflation: by hand, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_theory.parallel.self_correction import theory as self_correction


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_mismatch_sums_the_predecessors():
    got = self_correction.mismatch_bound(np.array([[3.0, 2.0, 1.0]]))
    np.testing.assert_array_equal(got, [[0.0, 3.0, 5.0]])


def test_gate_and_constants():
    values = jnp.array([4.0, 2.0, 1.0])
    radius = np.array([1.0, 0.5, 0.5]) / 2**0.5
    np.testing.assert_allclose(self_correction.gate_radius(values), radius)
    exact = self_correction.transfer_constant(values, jnp.zeros(2))
    np.testing.assert_allclose(exact, [2.0, 2.0])
    stretch = 2 * np.log(2)
    at_gate = self_correction.transfer_constant(values, self_correction.gate_radius(values)[:2])
    np.testing.assert_allclose(at_gate, stretch * 2 + (stretch - 1) / 2**0.5)
    np.testing.assert_allclose(self_correction.source_constant(values, 2), [13.0, 13.0])


def test_one_step_and_coupling_are_the_same_recursion():
    values = jnp.array([4.0, 2.0, 1.0])
    contraction, constant = jnp.array([0.5, 0.25, 0.1]), jnp.array([2.0, 3.0, 4.0])
    errors = jnp.array([0.4, 0.3, 0.2])
    bound = self_correction.one_step_bound(
        contraction, errors, self_correction.mismatch_bound(errors), constant
    )
    couplings = self_correction.coupling(values, contraction, constant)
    relative = errors / values
    step = self_correction.envelope(couplings, contraction, relative, 1)[1]
    np.testing.assert_allclose(step * values, bound)
    np.testing.assert_allclose(bound[0], 0.2)
    np.testing.assert_allclose(bound[1], 0.25 * 0.3 + 1.25 * 3 * 0.4)
    assert (np.triu(couplings) == 0).all()


def test_envelope_is_a_matrix_power():
    rng = np.random.default_rng(0)
    contraction, couplings = rng.uniform(0.1, 0.9, 4), np.tril(rng.uniform(0, 5, (4, 4)), -1)
    start = rng.uniform(size=4)
    power = np.linalg.matrix_power(np.diag(contraction) + couplings, 7)
    path = self_correction.envelope(jnp.array(couplings), jnp.array(contraction), start, 7)
    assert path.shape == (8, 4)
    np.testing.assert_allclose(path[0], start)
    np.testing.assert_allclose(path[7], power @ start, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.05, 0.8), min_size=4, max_size=4), st.floats(0.0, 20.0))
def test_envelope_decays_whatever_the_couplings(contraction, strength):
    couplings = strength * np.tril(np.ones((4, 4)), -1)
    path = self_correction.envelope(couplings, jnp.array(contraction), jnp.ones(4), 300)
    assert path[-1].max() < 1e-6


def test_amplitude_is_at_most_three_halves_under_the_gate():
    q = np.linspace(0, 1, 101)
    values = jnp.stack([jnp.ones(101), jnp.array(q)], axis=1)
    bound = self_correction.amplitude_bound(values, jnp.array(1 - q)[:, None] / 2)
    np.testing.assert_allclose(bound[:, 0], np.sqrt(1 + q**2) + (1 - q) / 2)
    assert bound.max() == pytest.approx(1.5)


def test_second_gate_is_logarithmic_in_the_gap():
    def rounds(gap):
        values = jnp.array([1.0, 0.5, 0.5 - gap])
        return float(self_correction.second_gate_round(values, jnp.asarray(0.5)))

    # A gap smaller by q^2 costs one round.
    assert rounds(1e-3 / 4) - rounds(1e-3) == pytest.approx(1.0)
    wide = self_correction.second_gate_round(jnp.array([1.0, 0.1, 0.0]), jnp.asarray(0.9999999))
    assert float(wide) == 2.0
