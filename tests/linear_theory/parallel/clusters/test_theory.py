"""The rounds of the claims are those of the solver; the bound of a pair is reached."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import Components, Regression, alternating, parallel
from linear_theory.instances.random_matrices import orthogonal
from linear_theory.parallel.clusters import theory
from linear_theory.parallel.clusters.theory import Workers


@pytest.mark.parametrize(
    ("step", "consistent"), [(theory.lagged_round, False), (theory.consistent_round, True)]
)
def test_rounds_are_those_of_the_solver(step, consistent):
    rng = np.random.default_rng(0)
    target, a = rng.standard_normal((5, 4)), rng.standard_normal((3, 4))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    workers = Workers(a @ target.T, a)
    for _ in range(3):
        workers = step(target, workers)
    with jax.enable_x64(True):
        problem = Regression.from_matrix(jnp.asarray(target))
        start = Components(jnp.asarray(a @ target.T), jnp.asarray(a))
        solver = alternating(consistent=consistent)
        solution = parallel(problem, 3, solver, rounds=3, staggered=False, init=start)
        expected = np.einsum("kj,ki->kji", solution.components.b, solution.components.a)
    np.testing.assert_allclose(np.einsum("kj,ki->kji", *workers), expected, atol=1e-12)


def test_tangent_is_that_of_the_largest_angles():
    rng = np.random.default_rng(1)
    right, rows = orthogonal(rng, 6, 2), rng.standard_normal((2, 6))
    cosines = np.linalg.svd(np.linalg.qr(rows.T)[0].T @ right)[1]
    expected = np.sqrt(np.sum(1 / cosines**2 - 1))
    assert theory.tangent(right, rows) == pytest.approx(expected)


def test_the_bound_of_a_pair_is_reached():
    values = np.array([1.0, 0.95])
    q = (values[1] / values[0]) ** 2
    # Where tan t q sqrt(q) = 1 two rounds before, the next move is the longest.
    angle = np.arctan(q**-1.5)
    a = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    target = np.diag(values)
    workers = Workers(a @ target.T, a)
    for _ in range(2):
        workers = theory.lagged_round(target, workers)
    error = np.linalg.norm(workers.b.T @ workers.a - target)
    assert 0.95 < error / theory.lag_bound(values) <= 1
