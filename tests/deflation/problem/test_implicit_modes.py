"""Derivatives forward, in every mode, and where the answer is no function of the target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import (
    Regression,
    exact,
    gradient_descent,
    joint,
)
from tests.deflation.problem.test_implicit import WAYS, WEIGHTS, each, factors, slope, whole
from tests.deflation.problems import SIZES, D, M, R, close, matrix, precision, thorough


@pytest.mark.parametrize("mode", [jax.vjp, lambda run, t: jax.jvp(run, (t,), (t,))])
def test_joint_has_no_derivative(mode):
    def run(target):
        solver = gradient_descent(0.05)
        return whole(joint(Regression.from_matrix(target), R, solver, rounds=3).components)

    with pytest.raises(TypeError, match="joint has no derivative"):
        mode(run, matrix().astype(np.float32))


@pytest.mark.parametrize("way", ["parallel", *map(thorough, ("exact", "sequential", "sharded"))])
def test_forward_mode(way):
    direction = np.random.default_rng(1).normal(size=(M, D))
    with precision("float64"):
        target = jnp.asarray(matrix())

        def run(target, way=way):
            return factors(WAYS[way](Regression.from_matrix(target)).components)

        got = jax.jvp(run, (target,), (jnp.asarray(direction),))[1]
        wanted = slope(lambda t: float(run(t, "exact")), matrix(), direction)
        np.testing.assert_allclose(got, wanted, rtol=1e-7)


def _each(target):
    return each(exact(Regression.from_matrix(target), R).components)


def test_the_hessian_along_a_direction_is_the_derivative_of_the_gradient():
    """Forward over reverse, compiled."""
    direction = np.random.default_rng(1).normal(size=(M, D))
    with precision("float64"):
        # The gradient and its derivative in one program.
        run = jax.jit(lambda t: jax.jvp(jax.grad(_each), (t,), (direction,)))
        turned = slope(lambda t: np.asarray(run(t)[0]), matrix(), direction)
        np.testing.assert_allclose(run(matrix())[1], turned, atol=1e-6)


# Forward and reverse alone, and a batch of gradients, are held by tests of their own.
@pytest.mark.thorough
def test_every_mode_is_the_same_derivative():
    with precision("float64"):
        wanted = jax.jit(jax.grad(_each))(matrix())
        close(jax.jit(jax.jacfwd(_each))(matrix()), wanted, "float64", 1e3)
        both = np.stack([matrix(), 1.3 * matrix()])
        close(jax.jit(jax.vmap(jax.jacrev(_each)))(both)[0], wanted, "float64", 1e3)


def test_a_tie_with_the_first_component_left_out():
    """What the tie does not determine is left out, and nothing is amplified."""
    with precision("float64"):
        gradient = jax.grad(lambda t: whole(exact(Regression.from_matrix(t), R).components))(
            jnp.asarray(matrix((5, 3, 2, 2)))
        )
        assert np.linalg.norm(gradient) < 10 * np.linalg.norm(WEIGHTS[0])


def test_rank_deficient_targets_get_the_tangent_projection():
    target = matrix(SIZES[:2])
    u, _, vt = np.linalg.svd(target)
    off = [np.eye(len(f)) - f.T[:2].T @ f.T[:2] for f in (u, vt.T)]
    tangent = WEIGHTS[0] - off[0] @ WEIGHTS[0] @ off[1]
    with precision("float64"):
        gradient = jax.grad(lambda t: whole(exact(Regression.from_matrix(t), 4).components))(
            jnp.asarray(target)
        )
        close(gradient, tangent, "float64", 100)
