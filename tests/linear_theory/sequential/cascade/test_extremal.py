"""Gradient ascent through the run finds the extremal error, and nothing above it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linear_theory.sequential.cascade.extremal import extremal_ratio, extremal_step, threshold

VALUES, THETA = (1.0, 0.99, 0.98), 1.3
GAP = VALUES[1] - VALUES[2]


def run(factors):
    """sum_k psi_k and ||D_2||; factors (2, 2, 3): b_k, a_k."""
    rest, errors = jnp.diag(jnp.array(VALUES)), 0.0
    for b, a in factors:
        u, s, vt = jnp.linalg.svd(rest)
        error = jnp.outer(b, a) - s[0] * jnp.outer(u[:, 0], vt[0])
        rest, errors = rest - jnp.outer(b, a), errors + jnp.sqrt(jnp.sum(error**2) + 1e-30)
    return errors, jnp.linalg.norm(rest - jnp.diag(jnp.array([0, 0, VALUES[2]])))


def test_the_closed_form_is_continuous_and_grows():
    rho = np.array([1.01, 1.5, 2.0])
    np.testing.assert_allclose(extremal_ratio(threshold(rho), rho), 1)
    assert np.all(extremal_ratio(1.5 * threshold(rho), rho) > 1.05)
    np.testing.assert_array_equal(extremal_ratio(0.9 * threshold(rho), rho), 1)


def test_the_step_has_the_error_it_is_asked_for():
    b, a = extremal_step(np.array(VALUES), np.array(THETA))
    error = np.outer(b, a) - VALUES[0] * np.eye(3)[:1].T @ np.eye(3)[:1]
    # What is added to psi are squares, T/s_1 of it.
    assert np.linalg.norm(error) == pytest.approx(THETA * GAP, rel=2 * GAP)


@pytest.mark.thorough  # the claims cascade.extremal and cascade.mismatch_sum hold both sides of it
def test_gradient_ascent_ends_at_the_closed_form():
    def height(factors):
        errors, mismatch = run(factors)
        over = jnp.maximum(errors / GAP - THETA, 0)
        return mismatch / errors - 50 * over**2

    def climb(key):
        exact = jnp.sqrt(jnp.array(VALUES[:2]))[:, None, None] * jnp.eye(3)[:2, None]
        first = exact + 0.3 * GAP * jax.random.normal(key, (2, 2, 3))
        rise = optax.adam(optax.linear_schedule(0.002, 0, 600))

        def step(carry, _):
            factors, state = carry
            update, state = rise.update(-jax.grad(height)(factors), state)
            return (factors + update, state), None

        (factors, _), _ = jax.lax.scan(step, (first, rise.init(first)), length=600)
        return run(factors)

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 16)
        ends = jax.jit(lambda keys: jax.lax.map(climb, keys))(keys)
    errors, mismatch = map(np.asarray, ends)
    within = errors <= 1.005 * THETA * GAP
    predicted = extremal_ratio(np.array(THETA), np.array(1 + VALUES[1] / VALUES[0]))
    # The penalty lets the sum pass by some tenths of a per cent, and T/s is one per cent.
    assert np.max(mismatch / errors, where=within, initial=0) == pytest.approx(predicted, rel=0.01)
