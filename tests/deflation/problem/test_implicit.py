"""Gradients of the answers with respect to the target, against finite differences in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import sparse
from jax.tree_util import Partial

from deflation import (
    Regression,
    advance,
    exact,
    finish,
    gradient_descent,
    krylov,
    parallel,
    sequential,
    sharded,
    start,
)
from tests.deflation.problems import SIZES, D, M, R, close, data, matrix, precision, thorough

MESH = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("worker",))
# Converged to rounding: the slowest rate is (1/2)^2 per round.
WAYS = {
    "exact": lambda p, r=R: exact(p, r),
    "parallel": lambda p, r=R: parallel(p, r, rounds=150),
    "sequential": lambda p, r=R: sequential(p, r, budget=60 * r),
    "sharded": lambda p, r=R: sharded(p, r, rounds=150, mesh=MESH),
    "krylov": lambda p, r=R: parallel(p, r, krylov(3), rounds=60),
    "descent": lambda p, r=R: parallel(p, r, gradient_descent(steps=20), rounds=150),
    "in parts": lambda p, r=R: finish(advance(advance(start(p, r), 100), 50)),
    "early": lambda p, r=R: parallel(p, r, rounds=400, tolerance=1e-13),
}
G = np.random.default_rng(7)
WEIGHTS = G.normal(size=(5, M, D))
LEFT, RIGHT = G.normal(size=(R, M)), G.normal(size=(R, D))


def best(target, rank):
    u, s, vt = np.linalg.svd(target)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def slope(function, point, direction, step=1e-5):
    """Central difference; its error is step^2 plus 1e-16 / step, about 1e-10."""
    return (function(point + step * direction) - function(point - step * direction)) / (2 * step)


def each(components):
    """A function of the single components, the same for either sign of their factors."""
    return jnp.einsum("km,kd,kmd->", components.b, components.a, WEIGHTS[: len(components.b)])


def whole(components):
    return jnp.sum(components.matrix() * WEIGHTS[0])


def factors(components):
    """Of the factors themselves, in their canonical form."""
    return jnp.sum(components.b * LEFT) + jnp.sum(jnp.sin(components.a) * RIGHT)


def size(components):
    return jnp.sum(components.b[0] ** 2) * jnp.sum(components.a[0] ** 2)


FUNCTIONS = {"each": each, "whole": whole, "factors": factors, "size": size}


CASES = [(way, function) for way in ("exact", "parallel") for function in FUNCTIONS]
CASES += [(way, "each") for way in ("sequential", "early")]
# The derivative is that of the answer: how a solver came there does not enter it.
CASES += [thorough(way, "each") for way in ("krylov", "descent", "sharded", "in parts")]


@pytest.mark.parametrize(("way", "function"), CASES)
def test_gradient_in_a_matrix(way, function):
    with precision("float64"):
        value = FUNCTIONS[function]
        direction = np.random.default_rng(1).normal(size=(M, D))

        def run(way, target):
            return value(WAYS[way](Regression.from_matrix(target)).components)

        gradient = jax.grad(lambda t: run(way, t))(jnp.asarray(matrix()))
        wanted = slope(lambda t: float(run("exact", t)), matrix(), direction)
        np.testing.assert_allclose(jnp.sum(gradient * direction), wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    "way", ["exact", *(thorough(way) for way in ("parallel", "sequential", "sharded"))]
)
def test_gradient_in_the_targets_of_data(way):
    """Through the reduction: of predictions, of components and of the residual, in Y."""
    x, y = data()
    new = G.normal(size=(D, 4))
    direction = np.random.default_rng(1).normal(size=(M, x.shape[1]))
    with precision("float64"):

        def run(way, y):
            problem = Regression.from_data(x, y)
            components = WAYS[way](problem).components
            predicted = jnp.sum(components.predict(new) ** 2)
            return predicted + each(components) + problem.residual(components)

        gradient = jax.grad(lambda y: run(way, y))(jnp.asarray(y))
        wanted = slope(lambda y: float(run("exact", y)), y, direction)
        np.testing.assert_allclose(jnp.sum(gradient * direction), wanted, rtol=1e-7)


# Of one matrix test_gradient_in_a_matrix holds it.
@pytest.mark.thorough
@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([1, R]))
def test_gradient_of_the_best_approximation(seed, rank):
    """Any matrix with gaps, one component and several; the reference is numpy."""
    g = np.random.default_rng(seed)
    sizes = np.cumsum(g.uniform(0.3, 1, 5))[::-1]
    target, direction = matrix(sizes, seed % 97), g.normal(size=(M, D))
    with precision("float64"):
        gradient = jax.grad(lambda t: whole(exact(Regression.from_matrix(t), rank).components))(
            jnp.asarray(target)
        )
        wanted = slope(lambda t: np.sum(best(t, rank) * WEIGHTS[0]), target, direction)
        np.testing.assert_allclose(jnp.sum(gradient * direction), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("sizes", [(3, 3, 1, 0.2), (3, 2, 2, 0.2), (3, 3, 3, 0.2), (3, 1, 1, 1)])
@pytest.mark.parametrize("way", ["exact", "parallel", thorough("sequential")])
def test_ties_inside_the_kept_components(sizes, way):
    """Single components have no derivative there, but their sum has, as long as the tie ends
    before component r + 1 (in the last case it is broken off, and the value is only finite)."""
    direction = np.random.default_rng(1).normal(size=(M, D))
    with precision("float64"):
        target = matrix(sizes)
        gradient = jax.grad(lambda t: whole(WAYS[way](Regression.from_matrix(t)).components))(
            jnp.asarray(target)
        )
        assert np.all(np.isfinite(gradient))
        if sizes[3] < sizes[2]:
            wanted = slope(lambda t: np.sum(best(t, R) * WEIGHTS[0]), target, direction)
            np.testing.assert_allclose(jnp.sum(gradient * direction), wanted, rtol=1e-6)


# More components than the target has are held in test_implicit_modes.py, against the projection.
@pytest.mark.thorough
@pytest.mark.parametrize("way", ["exact", "parallel", "sequential"])
def test_rank_deficient_targets(way):
    """Exactly the rank of the target: the derivative is the projection on the tangent space. More
    components than that: the extra ones are zero, and the gradient stays finite and bounded."""
    direction = np.random.default_rng(1).normal(size=(M, D))
    with precision("float64"):
        target = matrix(SIZES[:2])

        def gradient(rank):
            run = WAYS[way]
            return jax.grad(lambda t: whole(run(Regression.from_matrix(t), rank).components))(
                jnp.asarray(target)
            )

        wanted = slope(lambda t: np.sum(best(t, 2) * WEIGHTS[0]), target, direction)
        np.testing.assert_allclose(jnp.sum(gradient(2) * direction), wanted, rtol=1e-6)
        # The derivative of a best approximation of this target is a projection up to the extra
        # components, which add at most another.
        assert np.linalg.norm(gradient(4)) < 3 * np.linalg.norm(WEIGHTS[0])


# No gap behind the last component: test_implicit_modes.py holds it of a target of low rank.
@pytest.mark.thorough
def test_full_rank_sum_is_the_target():
    with precision("float64"):
        for way in ("exact", "parallel"):
            gradient = jax.grad(
                lambda t, way=way: whole(WAYS[way](Regression.from_matrix(t), D).components)
            )(jnp.asarray(matrix()))
            close(gradient, WEIGHTS[0], "float64", 1e3)


def operator(kind):
    """A function from the array an operator holds to the problem, and that array."""
    dense = jnp.asarray(matrix())
    if kind == "partial":
        return lambda t: Regression.from_operator(
            Partial(jnp.matmul, t), Partial(lambda t, u: t.T @ u, t), (M, D)
        ), dense
    indices = sparse.BCOO.fromdense(dense).indices

    def sparse_problem(entries):
        s = sparse.BCOO((entries, indices), shape=(M, D))
        return Regression.from_operator(
            Partial(lambda s, v: s @ v, s), Partial(lambda s, u: s.T @ u, s), (M, D)
        )

    return sparse_problem, dense.reshape(-1)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("sparse", "sequential"),
        *(thorough("partial", way) for way in ("parallel", "sequential")),
        thorough("sparse", "parallel"),
    ],
)
def test_gradient_in_the_arrays_of_an_operator(kind, way):
    with precision("float64"):
        make, held = operator(kind)
        got = jax.grad(lambda v: each(WAYS[way](make(v)).components))(held)
        wanted = jax.grad(lambda t: each(exact(Regression.from_matrix(t), R).components))(
            jnp.asarray(matrix())
        )
        close(np.reshape(got, (M, D)), wanted, "float64", 1e4)


# The arrays of an operator are held above; closures hold none.
@pytest.mark.thorough
def test_gradient_of_a_problem():
    """With respect to the whole problem as a pytree; an operator of closures has no leaves."""
    with precision("float64"):
        target = jnp.asarray(matrix())
        problem = Regression.from_operator(lambda v: target @ v, lambda u: target.T @ u, (M, D))
        gradient = jax.grad(lambda p: each(parallel(p, R, rounds=5).components))(problem)
        assert [float(leaf) for leaf in jax.tree.leaves(gradient)] == [0.0, 0.0]


def test_transformations_of_gradients():
    """Of a batch, compiled: what each has alone."""
    with precision("float64"):

        def run(target):
            return each(WAYS["parallel"](Regression.from_matrix(target)).components)

        batch = np.stack([matrix(), 1.3 * matrix()])
        one_by_one = np.stack([jax.grad(run)(jnp.asarray(target)) for target in batch])
        close(jax.jit(jax.vmap(jax.grad(run)))(batch), one_by_one, "float64", 1e3)


# In other units tests/deflation/problem/test_units.py holds it in single precision.
@pytest.mark.thorough
def test_gradient_in_single_precision():
    gradient = jax.grad(lambda t: each(WAYS["parallel"](Regression.from_matrix(t)).components))
    got = gradient(jnp.asarray(matrix(), jnp.float32))
    assert got.dtype == jnp.float32
    with precision("float64"):
        wanted = gradient(jnp.asarray(matrix()))
    # Rounding over the smallest gap squared, 1/4 of the largest value.
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.max(np.abs(wanted)))


# Components that are zero test_implicit_modes.py holds.
@pytest.mark.thorough
def test_components_that_grew_online():
    """Those that were dropped do not contribute."""
    from deflation import explained_energy

    with precision("float64"):
        rule = explained_energy(0.8)
        direction = np.random.default_rng(1).normal(size=(M, D))
        gradient = jax.grad(
            lambda t: whole(
                parallel(Regression.from_matrix(t), 4, grow=rule, rounds=150).components
            )
        )(jnp.asarray(matrix()))
        # 25 + 9 of 39.25 is more than 0.8.
        wanted = slope(lambda t: np.sum(best(t, 2) * WEIGHTS[0]), matrix(), direction)
        np.testing.assert_allclose(jnp.sum(gradient * direction), wanted, rtol=1e-6)
