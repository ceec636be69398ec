"""Krylov rounds: the factor and the energy by hand, the examples, and every claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.parallel.krylov import theory as krylov


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_factor_is_chebyshevs_polynomial(depth):
    values = np.array([1.0, 0.9, 0.5, 0.2])
    gap = (1 - 0.81) / (0.81 - 0.04)
    polynomial = np.polynomial.chebyshev.Chebyshev.basis(depth - 1)
    got = krylov.chebyshev_factor(jnp.asarray(values), depth)
    np.testing.assert_allclose(got, 1 / polynomial(1 + 2 * gap), rtol=1e-12)


def test_no_more_than_two_directions():
    got = krylov.chebyshev_factor(jnp.array([[1.0, 0.5, 0.5], [1.0, 0.0, 0.0]]), 2)
    np.testing.assert_array_equal(got, 0)


def test_the_energy_is_the_deficit_of_the_worker_behind_its_predecessor():
    """Of the second of two workers on a diagonal target, against the target it is left with."""
    values, size = np.array([3.0, 2.0, 1.0]), 1e-5
    g = np.random.default_rng(0)
    first, second = np.eye(3)[:2] + size * g.normal(size=(2, 3))
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    target = np.diag(values)
    left = target - np.outer(target @ first, first)
    deficit = np.linalg.norm(left, 2) ** 2 - np.linalg.norm(left @ second) ** 2
    modes = jnp.asarray(np.stack([first, second]))
    energy = krylov.late_energy(modes, modes, jnp.asarray(values))[1]
    np.testing.assert_allclose(energy**2, deficit, rtol=1e-3)
