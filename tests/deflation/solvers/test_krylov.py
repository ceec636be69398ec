"""The Krylov solver finds the best direction of its span, for every worker by itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import Components, Regression, Status, alternating, krylov, parallel, sequential
from deflation.rounds.worker import View, predecessors, work
from deflation.solvers.krylov import _leading
from tests.deflation.problems import (
    SIZES,
    D,
    M,
    R,
    close,
    errors,
    from_matrix,
    maps,
    matrix,
    orthonormal,
    precision,
    thorough,
    triplets,
)

DTYPES = ("float32", "float64")


def started(a, rows=M) -> Components:
    """Workers that begin at the directions a and have published nothing."""
    return Components(jnp.zeros((len(a), rows), a.dtype), jnp.asarray(a))


@functools.partial(jax.jit, static_argnums=2)
def one_round(target, a, solver) -> Components:
    """A round of a block of workers that nobody precedes, on a dense target."""
    own = started(jnp.asarray(a, target.dtype), target.shape[0])
    weights = jnp.zeros((len(a), len(a)), target.dtype)
    return solver.local(None, View(target, own, weights), own)


def directions(count, seed=0, columns=D):
    return np.random.default_rng(seed).normal(size=(count, columns))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_best_direction_of_the_span(depth):
    """Against numpy: an orthonormal basis of a, S a, ..., and the top of M on it."""
    with precision("float64"):
        target, a = matrix(), directions(R)
        got = one_round(target, a, krylov(depth))
        for k in range(R):
            powers = [a[k]]
            for _ in range(depth - 1):
                powers.append(target.T @ (target @ powers[-1]))
                powers[-1] /= np.linalg.norm(powers[-1])
            basis = np.linalg.qr(np.transpose(powers))[0]
            top = basis @ np.linalg.svd(target @ basis)[2][0]
            close(maps(got)[k], np.outer(target @ top, top), "float64", 100)
            np.testing.assert_allclose(np.linalg.norm(got.a[k]), 1, rtol=1e-14)


# Both follow from the best direction of the span, which is compared with numpy's above.
@pytest.mark.thorough
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_many_vectors_as_values_are_the_answer(dtype):
    """In one round the leading component, in R rounds all R: the space is invariant."""
    with precision(dtype):
        problem = from_matrix()
        found = parallel(problem, R, krylov(depth=D), rounds=R)
        assert (
            np.max(errors(problem, found.components)) < {"float32": 1e-5, "float64": 1e-13}[dtype]
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_leading_eigenvectors(dtype):
    """Against numpy: any gap from equal values to one value; and a zero matrix."""
    eps = np.finfo(dtype).eps
    with precision(dtype):
        basis = orthonormal(4, 4, 0)
        for second in (0.0, 0.5, 1 - 1e-3, 1 - 1e-5, 1 - eps, 1.0):
            gram = (basis * [1e-4, second, 1, 0]) @ basis.T
            got = np.asarray(_leading(jnp.asarray(gram[None], dtype))[0], np.float64)
            np.testing.assert_allclose(got @ gram @ got, 1, rtol=4 * eps)
            outside = 1 - (got @ basis[:, 2]) ** 2
            assert second > 1 - 1e3 * eps or outside < (4 * eps / (1 - second)) ** 2 + 4 * eps
        np.testing.assert_array_equal(_leading(jnp.zeros((1, 4, 4), dtype)), 0)


def test_depth_one_leaves_the_direction():
    with precision("float64"):
        target, a = matrix(), directions(R)
        got = one_round(target, a, krylov(depth=1))
        unit = a / np.linalg.norm(a, axis=1, keepdims=True)
        close(got.a, unit, "float64")
        close(got.b, unit @ target.T, "float64")


# It follows from the best direction of the span as well.
@pytest.mark.thorough
@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.sampled_from([((6, 5), 3), ((1, 4), 2)]),
    st.floats(0, 3),
)
def test_never_worse_than_power_iteration(seed, how, decay):
    """|M a| after a round, beside alternating with as many products from the same start."""
    shape, depth = how
    g = np.random.default_rng(seed)
    with precision("float64"):
        count = min(shape)
        sizes = np.exp(-decay * np.arange(count))
        left, right = orthonormal(shape[0], count, seed), orthonormal(shape[1], count, seed + 1)
        target, a = (left * sizes) @ right.T, g.normal(size=(2, shape[1]))
        ours, theirs = (
            np.linalg.norm(one_round(target, a, solver).b, axis=1)
            for solver in (krylov(depth), alternating(depth - 1))
        )
        assert np.all(ours >= theirs * (1 - 1e-12)) and np.all(ours <= sizes[0] * (1 + 1e-12))


@pytest.mark.thorough
def test_better_than_power_iteration_where_gaps_are_narrow():
    """And by as much as the Chebyshev polynomial of that degree is: momentum is in the span."""
    sizes = (1.0, 0.95, 0.9, 0.85, 0.8)
    with precision("float64"):
        problem = from_matrix(sizes)
        init = started(jnp.asarray(directions(1)))
        left = [
            errors(problem, parallel(problem, 1, s, rounds=6, init=init).components, 1)[0]
            for s in (krylov(4), alternating(3))
        ]
        assert left[0] < 1e-3 * left[1]


# Without predecessors of their own tests/deflation/rounds/test_worker.py holds it.
@pytest.mark.thorough
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_is_its_workers(dtype):
    """Each row of a batch against a batch of that row, behind predecessors of their own."""
    with precision(dtype):
        problem = from_matrix()
        g = np.random.default_rng(1)
        factors = Components(
            jnp.asarray(g.normal(size=(R, M)), dtype), jnp.asarray(g.normal(size=(R, D)), dtype)
        )
        everyone = jnp.arange(R)
        weights = predecessors(everyone, jnp.ones(R, bool))
        working = jnp.ones(R, bool)
        block_work = jax.jit(work)
        whole = block_work(problem, krylov(3), factors, everyone, weights, working)
        for k in range(R):
            one = slice(k, k + 1)
            alone = block_work(
                problem, krylov(3), factors, everyone[one], weights[one], working[one]
            )
            # Five relative gaps of a half: rounding of a product over a gap.
            close(maps(alone)[0], maps(whole)[k], dtype, 30)


@pytest.mark.parametrize(
    ("depth", "dtype"),
    [(9, "float64"), *(thorough(*how) for how in ((2, "float32"), (2, "float64"), (9, "float32")))],
)
@pytest.mark.parametrize(
    "sizes", [(2.0,), (3.0, 3.0, 3.0, 3.0, 3.0), (2.0, 2.0, 1.0), (1.0, 1e-4)], ids=str
)
def test_degenerate_spectra(sizes, depth, dtype):
    """Rank one, equal values, more depth than dimensions: the sizes are found, nothing is NaN."""
    with precision(dtype):
        problem = from_matrix(sizes)
        for run in (
            lambda: parallel(problem, R, krylov(depth), rounds=30),
            lambda: sequential(problem, R, krylov(depth), budget=60),
        ):
            solution = run()
            # Of five equal values a sum of three is no more determined than its components.
            undetermined = Status.RANK_CUTS_GROUP if len(sizes) > R else Status.SMALL_GAP
            assert solution.status in (Status.CONVERGED, undetermined)
            found = np.linalg.norm(maps(solution.components), axis=(1, 2))
            wanted = np.pad(sizes, (0, R))[:R]
            np.testing.assert_allclose(
                found, wanted, atol=sizes[0] * {"float32": 3e-6, "float64": 1e-13}[dtype]
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_to_find_keeps_the_direction(dtype):
    with precision(dtype):
        a = directions(R).astype(dtype)
        got = one_round(np.zeros((M, D), dtype), a, krylov(4))
        close(got.a, a / np.linalg.norm(a, axis=1, keepdims=True), dtype)
        np.testing.assert_array_equal(got.b, 0)


@pytest.mark.parametrize("dtype", ["float32", thorough("float64")])
def test_a_converged_worker_stays(dtype):
    """From the exact components, however many rounds: no direction is made of rounding."""
    with precision(dtype):
        problem = from_matrix()
        exact = triplets(matrix())
        right = np.linalg.svd(matrix())[2][:R].astype(dtype)
        init = Components((right @ matrix().T).astype(dtype), right)
        for rounds in (1, 100):
            solution = parallel(problem, R, krylov(4), rounds=rounds, init=init)
            close(maps(solution.components), exact, dtype, 20)


def test_float32_reaches_what_power_iteration_does():
    """Small components behind large ones: the limit is the rounding of the target, for both."""
    sizes = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
    problem = from_matrix(sizes)
    ours, theirs = (
        errors(problem, parallel(problem, R, solver, rounds=60).components)
        for solver in (krylov(4), alternating())
    )
    assert np.all(ours <= 10 * theirs + 1e-6)


# tests/deflation/solvers/test_solver.py holds it of alternating least squares.
@pytest.mark.thorough
@pytest.mark.parametrize("staggered", [True, False])
def test_private_workers_leave_the_direction_that_was_published(staggered):
    """As for alternating: with a deep space all workers find the first component in private."""
    sizes = (1, 0.3, 0.1, 0.03, 0.01)
    with precision("float64"):
        problem = from_matrix(sizes)
        solution = parallel(problem, 4, krylov(D), rounds=20, staggered=staggered)
        np.testing.assert_allclose(solution.history.size[-1], sizes[:4], rtol=1e-8)


# With another solver tests/deflation/problem/test_operators.py holds it.
@pytest.mark.thorough
def test_an_operator_is_its_matrix():
    with precision("float64"):
        target = jnp.asarray(matrix())
        implicit = Regression.from_operator(
            lambda v: target @ v, lambda u: target.T @ u, target.shape, dtype="float64"
        )
        got, wanted = (
            parallel(problem, R, krylov(3), rounds=5).components
            for problem in (implicit, from_matrix())
        )
        close(maps(got), maps(wanted), "float64", 100)


@pytest.mark.parametrize("solver", [krylov(4), alternating(3)], ids=("krylov", "alternating"))
def test_products_of_a_round(solver):
    """q with M and q - 1 with M^T; `alternating` with q - 1 sweeps takes as many."""
    counts = []

    def counted(name, function):
        def call(v):
            jax.debug.callback(counts.append, name)
            return function(v)

        return call

    target = jnp.asarray(matrix(), jnp.float32)
    problem = Regression.from_operator(
        counted(0, lambda v: target @ v), counted(1, lambda u: target.T @ u), target.shape
    )
    own = started(jnp.asarray(directions(1), jnp.float32))
    view = View(problem.target, own, jnp.zeros((1, 1), jnp.float32))
    counts.clear()  # making the problem may have tried the functions
    jax.block_until_ready(jax.jit(lambda view, own: solver.local(None, view, own))(view, own))
    jax.effects_barrier()
    assert (counts.count(0), counts.count(1)) == (4, 3)


# More depth than dimensions test_degenerate_spectra holds.
@pytest.mark.thorough
@pytest.mark.parametrize("shape", [(7, 2), (1, 4)])
def test_tall_and_wide(shape):
    """More depth than the smaller side has."""
    target = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = parallel(Regression.from_matrix(target), min(shape), krylov(5), rounds=20).components
    close(np.asarray(found.b).T @ found.a, target, "float32", 10)


def test_no_vectors_of_the_target_size_leave_the_range():
    """float32 has no fourth powers of 1e12."""
    for scale in (1e-12, 1e12):
        target = np.asarray(matrix() * scale, np.float32)
        solution = parallel(Regression.from_matrix(target), R, krylov(4), rounds=10)
        sizes = np.linalg.norm(maps(solution.components), axis=(1, 2))
        np.testing.assert_allclose(sizes / scale, SIZES[:R], rtol=1e-5)
