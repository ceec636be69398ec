"""The first-order law on made-up modes, and late rates by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.parallel.self_correction import late_phase


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def modes(*rows):
    return jnp.array(rows)


def test_own_and_slaved_modes_add_in_squares():
    values = jnp.array([3.0, 2.0, 1.0])
    now = modes([1.0, 1e-3, 2e-3], [7e-3, 1.0, 4e-3])
    before = modes([1.0, 5e-3, 9e-3], [8e-3, 1.0, 6e-3])
    first = 1e-6 * (9 + 4) + 4e-6 * (9 + 1)
    second = 16e-6 * (4 + 1) + 25e-6 * (9 + 4)
    got = late_phase.first_order_errors(now, before, values)
    np.testing.assert_allclose(got, np.sqrt([first, second]))


def test_the_sum_keeps_what_leaves_the_first_modes_and_one_round_of_progress():
    values = jnp.array([3.0, 2.0, 1.0])
    now = modes([1.0, 1e-3, 2e-3], [7e-3, 1.0, 4e-3])
    before = modes([1.0, 5e-3, 9e-3], [8e-3, 1.0, 6e-3])
    outside = 4e-6 * (9 + 1) + 16e-6 * (4 + 1)
    inside = (1e-3 - 5e-3) ** 2 * (9 + 4)
    got = late_phase.first_order_sum_error(now, before, values)
    assert float(got) == pytest.approx((outside + inside) ** 0.5)


def test_the_error_of_a_tilted_direction_is_its_law():
    """R = M v v^T with v turned from v_1: exact to second order."""
    values = np.array([3.0, 2.0, 1.0])
    left, right = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 4, 3)))[0]
    target = (left * values) @ right.T
    turn = np.array([1.0, 1e-5, -2e-5])
    v = right @ turn / np.linalg.norm(turn)
    error = np.linalg.norm(np.outer(target @ v, v) - 3 * np.outer(left[:, 0], right[:, 0]))
    now = turn[None] / np.linalg.norm(turn)
    law = late_phase.first_order_errors(now, now, values)
    assert float(law[0]) == pytest.approx(float(error), rel=1e-9)


def test_late_rate_is_that_of_the_worker_or_of_the_one_before():
    slow_first = jnp.array([[0.9025, 0.36, 0.36, 0.36]])
    np.testing.assert_array_equal(late_phase.late_rate(slow_first), [[0.9025, 0.9025, 0.36, 0.36]])
