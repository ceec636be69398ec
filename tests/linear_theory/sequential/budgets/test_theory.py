"""The closed forms against a minimiser and against runs of the solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from deflation import Budget, Regression, alternating, sequential
from linear_theory.sequential.budgets import theory


def test_water_filling_is_what_a_minimiser_finds():
    rng = np.random.default_rng(0)
    errors, rates = rng.uniform(0.2, 1, 4), rng.uniform(0.2, 0.8, 4)
    found = minimize(
        lambda t: np.log(theory.left_over(errors, rates, t)),
        np.full(4, 3.0),
        constraints={"type": "eq", "fun": lambda t: t.sum() - 12},
        bounds=[(0, None)] * 4,
    ).x
    np.testing.assert_allclose(theory.water_filling(errors, rates, 12.0), found, atol=1e-3)


def test_a_component_that_is_not_worth_a_step_gets_none():
    steps = theory.water_filling(np.array([1.0, 1e-12]), np.array([0.5, 0.5]), 8.0)
    np.testing.assert_allclose(steps, [8, 0], atol=1e-9)


# The claims budgets.* hold what is said of runs.
@pytest.mark.thorough
def test_the_error_of_a_run_is_what_its_span_misses():
    with jax.enable_x64(True):
        target = np.random.default_rng(1).normal(size=(7, 6))
        problem = Regression.from_matrix(jnp.asarray(target))
        solution = sequential(problem, 3, alternating(), budget=Budget((1, 2, 1)))
        a, b = np.asarray(solution.components.a), np.asarray(solution.components.b)
        left = np.linalg.norm(target - b.T @ a)
        np.testing.assert_allclose(theory.outside(target, a), left, rtol=1e-12)
