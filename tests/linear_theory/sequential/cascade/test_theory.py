import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_theory.sequential.cascade import theory as cascade

VALUES = np.array([4.0, 3.0, 1.0])
ERRORS = np.array([0.1, 0.02, 0.003])
TRAINING = (
    cascade.training_bound_single,
    cascade.training_bound_double,
    cascade.training_bound_gap_free,
    cascade.training_bound_gap_free_spectral,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def reference(factors, sources):
    values = [0.0]
    for factor, source in zip(factors, sources, strict=True):
        values.append(factor * values[-1] + source)
    return values


def test_amplification_by_hand():
    # T = (1, 2, 1).
    np.testing.assert_allclose(cascade.amplification(VALUES), [26.0, 11.0, 8.0])
    np.testing.assert_allclose(cascade.improved_amplification(VALUES), [16.0, 6.0, 4.0])


def test_accumulated_error_by_hand():
    second = 11 * 0.1 + 0.02
    expected = [0.0, 0.1, second, 8 * second + 0.003]
    np.testing.assert_allclose(cascade.accumulated_error(VALUES, ERRORS), expected, rtol=1e-13)


def test_training_bounds_by_hand():
    tail = np.sqrt([26.0, 10.0, 1.0, 0.0])
    e = np.array([0.0, 0.1, 1.12, 8.963])
    np.testing.assert_allclose(cascade.training_bound_single(VALUES, ERRORS), tail + e)
    np.testing.assert_allclose(cascade.training_bound_double(VALUES, ERRORS), tail + e.cumsum())
    sums = np.array([0.0, 0.1, 0.12, 0.123])
    np.testing.assert_allclose(cascade.training_bound_gap_free(VALUES, ERRORS), tail + sums)
    spectral = cascade.training_bound_gap_free_spectral(VALUES, ERRORS)
    np.testing.assert_allclose(spectral, np.array([4.0, 3.0, 1.0, 0.0]) + sums)


POSITIVE = st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4)


@given(POSITIVE, POSITIVE)
@settings(deadline=None, max_examples=30)
def test_recurrence_equals_its_recursion(factors, sources):
    with jax.enable_x64(True):
        got = cascade.recurrence_bound(np.array(factors), np.array(sources))
        np.testing.assert_allclose(got, reference(factors, sources), rtol=1e-10)


@given(POSITIVE, POSITIVE)
@settings(deadline=None, max_examples=30)
def test_the_three_training_bounds_are_ordered(gaps, errors):
    with jax.enable_x64(True):
        values = np.cumsum(gaps)[::-1].copy()
        single, double, free, _ = (bound(values, np.array(errors)) for bound in TRAINING)
        assert (single <= double * (1 + 1e-12)).all()
        assert (free <= single * (1 + 1e-12)).all()


def test_products_do_not_overflow_in_log_space():
    logs = cascade.log_recurrence_bound(np.full(2000, 1e9), np.ones(2000))
    assert logs[-1] == pytest.approx(1999 * np.log(1e9), rel=1e-9)
    values = cascade.recurrence_bound(np.full(2000, 1e9), np.ones(2000))
    assert np.isposinf(values[-1]) and not np.isnan(values).any()


def test_float32_products_pass_its_range_without_nan():
    values = jnp.linspace(1.0, 0.9, 40, dtype=jnp.float32)
    errors = jnp.full(40, 1e-3, jnp.float32)
    logs = cascade.log_recurrence_bound(cascade.amplification(values), errors)
    assert logs.dtype == jnp.float32 and np.isfinite(logs[1:]).all() and logs[-1] > 150
    assert np.isposinf(cascade.accumulated_error(values, errors)[-1])


def test_degenerate_factors_give_no_nan():
    factors = np.array([2.0, np.inf, 0.0, 2.0])
    for sources in (np.zeros(4), np.ones(4)):
        got = cascade.recurrence_bound(factors, sources)
        np.testing.assert_array_equal(np.isposinf(got), [False, False, True, True, True])
    zero_later = cascade.recurrence_bound(np.array([2.0, 0.0, 3.0]), np.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(zero_later, [0.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize("errors", [np.zeros(3), np.ones(3)])
def test_a_zero_gap_ends_the_cascade_bounds_only(errors):
    values = np.array([3.0, 2.0, 2.0, 1.0])
    for bound in TRAINING[:2]:
        np.testing.assert_array_equal(np.isposinf(bound(values, errors)), [0, 0, 1, 1])
    for bound in TRAINING[2:]:
        assert np.isfinite(bound(values, errors)).all()


def test_hypothesis_of_theorem_1():
    # E(2) = 0.9 < T_2/2 = 1, E(3) = 11 * 0.9 > T_3/2; afterwards it stays broken.
    got = cascade.perturbative(VALUES, np.array([0.9, 0.0, 0.0]))
    np.testing.assert_array_equal(got, [True, True, True, False])
    tied = cascade.perturbative(np.array([2.0, 2.0, 1.0]), np.zeros(3))
    np.testing.assert_array_equal(tied, [True, False, False, False])


def test_first_order_mismatch_by_hand():
    # s_3/T_2 = 1/2 is below 1; s_3/T_2 = 8 with a narrow gap.
    np.testing.assert_allclose(cascade.first_order_mismatch(VALUES), [0.0, 1.0, 1.0])
    got = cascade.first_order_mismatch(np.array([2.0, 0.9, 0.8, 0.8, 0.1]))
    np.testing.assert_allclose(got, [0.0, 1.0, 8.0, np.inf, 1.0])


def test_batches_and_fewer_errors_than_values():
    values, errors = np.stack([VALUES, 2 * VALUES]), np.stack([ERRORS, 2 * ERRORS])[:, :2]
    for bound in TRAINING:
        got = bound(values, errors)
        assert got.shape == (2, 3)
        np.testing.assert_allclose(got[1], 2 * got[0])


@pytest.mark.parametrize("bound", [*TRAINING, cascade.accumulated_error, cascade.perturbative])
def test_more_errors_than_values_are_refused(bound):
    with pytest.raises(ValueError, match="errors has 4 steps"):
        bound(VALUES, np.ones(4))
