import jax
import numpy as np
import pytest

from deflation.problem.spectrum import stable_rank
from linear_theory.structure.gradient_projection import gradient_rank as rank
from linear_theory.structure.gradient_projection.claims_rank import draw_linear


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_gradients_are_those_of_a_quadratic_loss():
    problem = draw_linear(jax.random.key(0), 2, terms=3)
    left, right = problem.left[0], problem.right[0]
    solution = np.random.default_rng(0).standard_normal((4, 4))

    def loss(weights):  # its gradient is sum_i B_i (W - W*) C_i
        error = weights - solution
        return sum((b @ error @ c * error).sum() for b, c in zip(left, right, strict=True)) / 2

    weights = np.zeros((4, 4))
    path = rank.linear_gradients(jax.grad(loss)(weights), left, right, problem.step[0], steps=3)
    for gradient in path:
        np.testing.assert_allclose(gradient, jax.grad(loss)(weights), atol=1e-12)
        weights = weights - problem.step[0] * gradient


def test_the_kept_part_is_an_eigenvector():
    problem = draw_linear(jax.random.key(1), 3, terms=2)
    path = np.asarray(rank.linear_gradients(problem.kept, *problem[1:4], steps=1))
    factor = path[1] / path[0]
    np.testing.assert_allclose(factor, factor[:, :1, :1] * np.ones((4, 4)), rtol=1e-6)


def test_stable_rank_lies_between_one_and_the_rank():
    values = np.random.default_rng(0).exponential(1, (20, 5))
    measured = np.asarray(stable_rank(values))
    assert ((measured >= 1) & (measured <= 5)).all()
    assert float(stable_rank(np.ones(5))) == 5


def test_bounds_meet_when_nothing_is_left():
    kept = np.array([2.0, 1.0])
    for bound in (rank.stable_rank_bound, rank.stable_rank_bound_any):
        assert float(bound(kept, 3.0, 0.5, 80)) == pytest.approx(1.25)
    assert np.isinf(rank.stable_rank_bound_any(kept, 3.0, 0.5, 0))
