"""Targets known by their products, and numbers of any type."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental import sparse
from jax.tree_util import Partial

from deflation import Components, Regression, exact, parallel, sequential
from tests.deflation.problem.test_regression import DTYPES, same
from tests.deflation.problems import (
    ROUNDING,
    D,
    M,
    R,
    close,
    data,
    errors,
    from_data,
    maps,
    matrix,
    precision,
    thorough,
    triplets,
)

OPERATORS = {
    "closure": lambda t: (lambda v: t @ v, lambda u: t.T @ u),
    "partial": lambda t: (Partial(jnp.matmul, t), Partial(lambda w, u: w.T @ u, t)),
    "sparse": lambda t: (
        Partial(lambda s, v: s @ v, sparse.BCOO.fromdense(t)),
        Partial(lambda s, u: s.T @ u, sparse.BCOO.fromdense(t)),
    ),
}


WAYS = {
    "parallel": lambda p: parallel(p, R, rounds=8),
    "sequential": lambda p: sequential(p, R, budget=12),
}
# Products of sparse matrices test_sparse_matrices_are_products holds.
CASES = [("closure", "sequential", "float32")]
ALL = itertools.product(OPERATORS, WAYS, DTYPES)


@pytest.mark.parametrize(
    ("kind", "way", "dtype"), CASES + [thorough(*case) for case in ALL if case not in CASES]
)
def test_operator_equals_dense(kind, way, dtype):
    with precision(dtype):
        dense = Regression.from_matrix(matrix())
        implicit = Regression.from_operator(*OPERATORS[kind](dense.target), (M, D))
        assert (implicit.shape, implicit.dtype) == (dense.shape, dense.dtype)
        answer = exact(implicit, R)
        assert answer.components.b.dtype == dtype
        # Half of the digits of a relative gap of 1/4 are not lost; ARPACK stops at rounding.
        assert np.max(errors(dense, answer.components)) <= 20 * ROUNDING[dtype]
        close(implicit.residual(answer.components), dense.residual(answer.components), dtype)
        got, wanted = (WAYS[way](problem).components for problem in (implicit, dense))
        close(maps(got), maps(wanted), dtype, 10)


def test_operator_residual_in_more_than_one_block():
    """d beyond the block of identity columns that the residual is summed in."""
    wide = np.random.default_rng(0).normal(size=(3, 300))
    with precision("float64"):
        target = jnp.asarray(wide)
        problem = Regression.from_operator(lambda v: target @ v, lambda u: target.T @ u, (3, 300))
        model = Components(np.ones((1, 3)), np.ones((1, 300)))
        np.testing.assert_allclose(problem.residual(model), np.linalg.norm(wide - 1), rtol=1e-12)


def test_component_errors():
    with precision("float64"):
        problem = Regression.from_data(*data())
        answer = exact(problem, R).components
        close(problem.component_errors(answer, answer) + 1, np.ones(R), "float64")
        doubled = Components(answer.b * np.array([[2.0], [1], [-1]]), answer.a)
        np.testing.assert_allclose(problem.component_errors(doubled, answer), [1, 0, 2], atol=1e-12)


def test_reduction_can_be_traced():
    """jit, and vmap over targets, give what separate calls give."""
    x, y = data()
    batch = np.stack([y, y[:, ::-1], 2 * y])
    with precision("float64"):
        built = jax.jit(Regression.from_data)(x, y)
        same(built, Regression.from_data(x, y))
        many = jax.vmap(lambda t: Regression.from_data(x, t).target)(batch)
        for target, got in zip(batch, many, strict=True):
            close(got, Regression.from_data(x, target).target, "float64")
        streamed = jax.jit(lambda p, x, y: p.update(x, y))(built, x, y)
        same(streamed, built.update(x, y))


def test_exact_components_are_the_singular_ones():
    with precision("float64"):
        problem = Regression.from_matrix(matrix())
        solution = exact(problem, R)
        close(maps(solution.components), triplets(matrix()), "float64")
        assert int(solution.rounds) == 0 and int(solution.rank) == R


@pytest.mark.parametrize("value", [True, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_integers_and_booleans_become_the_default_float(value, dtype):
    with precision(dtype):
        whole = np.full((2, 3), value)
        for problem in (
            Regression.from_matrix(whole),
            Regression.from_matrix(whole.tolist()),
            Regression.from_data(whole, whole),
            Regression.from_batches([(whole, whole)]),
        ):
            assert {leaf.dtype for leaf in jax.tree.leaves(problem)} == {np.dtype(dtype)}


def test_the_wider_dtype_wins():
    x, y = data()
    with precision("float64"):
        assert Regression.from_data(x.astype(np.float32), y).dtype == np.float64
        assert Regression.from_data(x.astype(np.float32), y.astype(np.float32)).dtype == np.float32


def test_sparse_matrices_are_products():
    """In any format, with entries of any real type and repeated ones, by several ways."""
    dense = np.where(np.abs(matrix()) > 0.5, matrix(), 0).astype(np.float32)
    wanted = exact(Regression.from_matrix(dense), R).components
    for make in (scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array):
        problem = Regression.from_matrix(make(dense))
        close(
            problem.residual(wanted), Regression.from_matrix(dense).residual(wanted), "float32", 10
        )
    close(maps(parallel(problem, R, rounds=80).components), maps(wanted), "float32", 100)
    for bad, text in ((dense * 0, "all zeros"), (dense * np.nan, "NaN"), (dense * 1j, "complex")):
        with pytest.raises(ValueError, match=text):
            Regression.from_matrix(scipy.sparse.csr_array(bad))
    with pytest.raises(ValueError, match=r"pass x.toarray\(\)"):
        from_data().update(scipy.sparse.csr_array(dense), dense)


def test_samples_are_columns():
    with pytest.raises(ValueError, match=r"pass x.T and y.T where samples are rows"):
        Regression.from_data(np.ones((40, 5)), np.ones((41, 6)))


def test_operators_that_cannot_be_used_are_one_line():
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)), jnp.float32)

    def made(scale, shape):
        a = scale * matrix
        return Regression.from_operator(lambda v: a @ v, lambda v: a.T @ v, shape)

    with pytest.raises(ValueError, match=r"matvec takes no vector \(5,\) of float32: "):
        made(1, (7, 5))
    with pytest.raises(ValueError, match="allowed is one that is not zero"):
        exact(made(0, (5, 7)), 2)
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\); allowed are 7 rows"):
        exact(made(1, (5, 7)), 2).components.predict(np.ones((3, 2)))
