import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import lambertw

from linear_theory.adaptation.factored_descent import theory as fd
from linear_theory.adaptation.preconditioning import theory as pc
from linear_theory.adaptation.smoothing import theory as sm


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def jacobian(step, point):
    """Modulus of the spectrum of a map of matrices at a point."""
    flat = jax.jacobian(lambda z: step(z.reshape(point.shape)).ravel())(jnp.ravel(point))
    return np.sort(np.abs(np.linalg.eigvals(np.asarray(flat))))


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    x = random.normal(size=(20, 4))
    left = np.linalg.qr(random.normal(size=(4, 2)))[0]
    right = np.linalg.qr(random.normal(size=(3, 2)))[0]
    values = np.array([1.5, 0.5])
    return x.T @ x / 20, left, values, right


def test_a_step_is_the_step_of_its_product(problem):
    gram, left, values, right = problem
    random = np.random.default_rng(1)
    a, b = random.normal(size=(4, 2)), random.normal(size=(2, 3))
    slope = gram @ (a @ b - (left * values) @ right.T)
    first, second = pc.preconditioned_step(slope, a, b, 0.3)
    np.testing.assert_allclose(pc.product_step(slope, a @ b, 2, 0.3), first @ second, atol=1e-10)


# The claims preconditioning.* hold the rates of runs.
@pytest.mark.thorough
def test_rates_of_descent_are_the_spectrum_of_its_jacobian(problem):
    gram, left, values, right = problem
    a, b = left * np.sqrt(values), (right * np.sqrt(values)).T
    delta = a @ b

    def step(factors):
        a, b = factors[:8].reshape(4, 2), factors[8:].reshape(2, 3)
        slope = gram @ (a @ b - delta)
        return jnp.concatenate([(a - 0.1 * slope @ b.T).ravel(), (b - 0.1 * a.T @ slope).ravel()])

    result = jacobian(step, np.concatenate([a.ravel(), b.ravel()]))
    rates = np.asarray(fd.decay_rates(gram, a, b))
    assert rates.shape == (10,)
    # Beside the modes of the error there are r^2 = 4 directions of gauge, which stay.
    expected = np.sort(np.concatenate([np.abs(1 - 0.1 * rates), np.ones(4)]))
    np.testing.assert_allclose(result, expected, atol=1e-6)
    lower, upper = fd.slowest_rate_bounds(gram, left, values)
    assert lower <= rates[0] <= upper


def test_mode_factors_are_the_spectrum_of_one_plus_p_times_s(problem):
    gram, left, _, _ = problem
    expected = np.sort(np.linalg.eigvals((np.eye(4) + left @ left.T) @ gram).real)
    np.testing.assert_allclose(pc.mode_factors(gram, left), expected, atol=1e-12)
    np.testing.assert_allclose(pc.mode_factors(np.eye(4), left), [1, 1, 2, 2], atol=1e-12)


def test_rates_by_hand():
    np.testing.assert_allclose(pc.population_rate(np.array([0.5, 2 / 3, 0.9])), [0.5, 1 / 3, 0.8])
    # 0.5 + 2 * 0.5 * 0.2 + 0.25 * 1.44 * 0.2/0.8
    assert float(pc.proved_rate(0.5, 0.2)) == pytest.approx(0.79)
    rates = sm.smoothed_rate(np.array([1.0, 0.25]), 0.25, 1.0)
    # Shares 0.8 and 0.5: the slowest mode is 1 - 0.25.
    assert float(rates) == pytest.approx(0.75)
    # For a large step the pair of shares takes over: |1 - 2.5 (0.8 + 0.8)|.
    assert float(sm.smoothed_rate(np.array([1.0]), 0.25, 2.5, 1.0)) == pytest.approx(3.0)


def test_the_surplus_is_lambert_w_and_the_recursion():
    for start, damping, steps in ((0.5, 0.01, 100), (0.01, 1.0, 10), (1.0, 1e-3, 400)):
        first = damping / start
        argument = first * np.exp(first + 0.05 * steps)
        expected = damping / lambertw(argument).real
        assert float(sm.surplus_value(start, damping, 0.05, steps)) == pytest.approx(expected)
    value = 0.3
    for _ in range(20000):
        value *= (1 - 0.001 * 0.5 * value / (value + 0.05)) ** 2
    assert float(sm.surplus_value(0.3, 0.05, 0.001, 20000)) == pytest.approx(value, rel=1e-3)
