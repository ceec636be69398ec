"""One problem, one solver, several ways to run: each against its definition in plain numpy."""

import jax
import numpy as np
import pytest

from deflation import (
    Components,
    Regression,
    Status,
    advance,
    alternating,
    exact,
    finish,
    gradient_descent,
    krylov,
    parallel,
    sequential,
    start,
)
from tests.deflation.problems import (
    ROUNDING,
    SIZES,
    M,
    R,
    close,
    errors,
    from_data,
    from_matrix,
    maps,
    matrix,
    precision,
    thorough,
    triplets,
)

DTYPES = ("float32", "float64")


def first_directions(problem, key=0) -> np.ndarray:
    """The random a_k that a run from `key` begins with."""
    state = start(problem, R, key=jax.random.key(key))
    return np.asarray(state.progress.factors.a, np.float64)


def reference(target, a, rounds, staggered=True, advance=True):
    """Parallel deflation by alternating least squares, worker by worker, from its definition.

    In round l worker k fits M less what its predecessors published in rounds before; staggered,
    worker k (from 1) publishes from round k on, else all do from the first; workers that do not
    publish yet rest unless they advance.
    """
    r = len(a)
    a, b = a.copy(), np.zeros((r, target.shape[0]))
    for number in range(1, rounds + 1):
        old = [np.outer(b[k], a[k]) for k in range(r)]
        published = (number - 1 if staggered else r) if number > 1 else 0
        for k in range(r):
            if staggered and not advance and k >= number:
                continue
            left = target - sum(old[: min(k, published)])
            a[k] = left.T @ left @ a[k]
            a[k] /= np.linalg.norm(a[k])
            b[k] = left @ a[k]
    shown = rounds if staggered else r
    return np.stack([np.outer(b[k], a[k]) * (k < shown) for k in range(r)])


@pytest.mark.parametrize("rounds", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("staggered", "advance"), [(True, True), (True, False), (False, True), thorough(False, False)]
)
def test_parallel_round_by_round(staggered, advance, rounds):
    with precision("float64"):
        problem = from_matrix()
        wanted = reference(matrix(), first_directions(problem), rounds, staggered, advance)
        got = parallel(
            problem, R, rounds=rounds, staggered=staggered, advance=advance, key=jax.random.key(0)
        )
        close(maps(got.components), wanted, "float64")
        assert int(got.rounds) == rounds and got.history.size.shape == (rounds, R)


def test_unpublished_workers_refine_in_private_or_rest():
    """Worker 3 before its round: nothing of it is published either way; with advance learning its
    direction turns, without it the worker has not begun."""
    with precision("float64"):
        for on in (True, False):
            state = advance(start(from_matrix(), R, advance=on), R - 1)
            begun = np.asarray(state.history.size) > 0
            np.testing.assert_array_equal(begun, np.ones((2, R)) if on else [[1, 0, 0], [1, 1, 0]])
            published = finish(state).components.b
            assert np.all(np.linalg.norm(published[: R - 1], axis=1) > 0.1)
            np.testing.assert_array_equal(published[R - 1], 0)


SOLVERS = (alternating(), gradient_descent(steps=10), krylov())
# A program each: of every solver one, on kinds of problem and dtypes by turns.
BY_TURNS = [
    (make, solver, dtype)
    if number % 2 == kind and number % 2 == place
    else thorough(make, solver, dtype)
    for kind, make in enumerate((from_matrix, from_data))
    for number, solver in enumerate(SOLVERS)
    for place, dtype in enumerate(DTYPES)
]


@pytest.mark.parametrize(("make", "solver", "dtype"), BY_TURNS)
def test_parallel_reaches_the_exact_answer(make, solver, dtype):
    with precision(dtype):
        problem = make()
        solution = parallel(problem, R, solver, rounds=150)
        assert solution.status is Status.CONVERGED
        # The third gap is 1/2: a component's error is a few roundings of the target over it.
        assert np.max(errors(problem, solution.components)) < 20 * ROUNDING[dtype]
        best = problem.residual(exact(problem, R).components)
        np.testing.assert_allclose(
            problem.residual(solution.components), best, rtol=5 * ROUNDING[dtype]
        )
        assert solution.components.b.dtype == dtype and int(solution.rank) == R


@pytest.mark.parametrize("advance", [True, thorough(False)])
@pytest.mark.parametrize("seed", range(4))
def test_workers_are_exact_one_round_after_another(seed, advance):
    """With many sweeps a round solves its problem: worker k is exact from round k on."""
    with precision("float64"):
        problem = from_matrix(seed=seed)
        for rounds in range(1, R + 1):
            solution = parallel(problem, R, alternating(200), rounds=rounds, advance=advance)
            np.testing.assert_array_equal(solution.components.b[rounds:], 0)
            found = maps(solution.components)[:rounds] - triplets(matrix(seed=seed), rounds)
            assert np.max(np.abs(found)) < 1e-11


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float32", {}),
        ("float64", {"staggered": False}),
        thorough("float32", {"advance": False}),
        thorough("float64", {}),
        thorough("float32", {"staggered": False}),
        thorough("float64", {"advance": False}),
    ],
)
def test_workers_that_found_the_same_direction_part_again(dtype, options):
    """Workers that refine before their predecessors publish all converge to the first component;
    what is left of it after deflation is rounding, and the search must begin again from there."""
    with precision(dtype):
        for seed in range(4):
            problem = from_matrix(seed=seed)
            key = jax.random.key(seed)
            solution = parallel(problem, R, alternating(50), rounds=30, key=key, **options)
            assert np.max(errors(problem, solution.components)) < 20 * ROUNDING[dtype]


def test_large_gaps():
    """Here one sweep is enough to make all workers equal to rounding."""
    for sizes in ((1e4, 1.0, 0.1), (1e5, 10.0, 1e-2)):
        problem = from_matrix(sizes)
        solution = parallel(problem, R, rounds=30)
        got = np.linalg.norm(maps(solution.components), axis=(1, 2))
        # Rounding of the target, 6e-8 of its largest value, is an error of every smaller one.
        np.testing.assert_allclose(got, sizes, atol=3e-6 * sizes[0], rtol=0)
        assert errors(problem, solution.components, 2)[1] < 3e-6 * sizes[0] / sizes[1]


def test_sequential_is_one_parallel_worker_after_another():
    """Component k of a sequential run is a parallel run of one worker on what the components
    before left, for as many rounds, from the same first factors."""
    steps = (4, 5, 6)
    with precision("float64"):
        problem = from_matrix()
        got = sequential(problem, R, budget=steps, key=jax.random.key(0))
        a = first_directions(problem)
        left, found = matrix(), []
        for k in range(R):
            init = Components(np.ones((1, M)), a[k : k + 1])
            one = parallel(Regression.from_matrix(left), 1, rounds=steps[k], init=init)
            found.append(maps(one.components)[0])
            left = left - found[-1]
        close(maps(got.components), found, "float64")
        assert int(got.rounds) == sum(steps)
        # The history of a component is that of its own rounds.
        np.testing.assert_array_equal(got.history.size[: steps[0], 1:], 0)


def test_sequential_and_parallel_agree_on_the_first_component():
    with precision("float64"):
        problem = from_data()
        one = sequential(problem, R, budget=(7, 1, 1)).components
        other = parallel(problem, R, rounds=7).components
        close(maps(one)[0], maps(other)[0], "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [from_matrix, from_data])
def test_sequential_reaches_the_exact_answer(make, dtype):
    with precision(dtype):
        problem = make()
        solution = sequential(problem, R, budget=120)
        assert solution.status is Status.CONVERGED
        assert np.max(errors(problem, solution.components)) < 20 * ROUNDING[dtype]


def test_errors_of_a_sequential_run_are_frozen_and_of_a_parallel_run_are_not():
    """A first component stopped early stays wrong, however long the later ones are fitted."""
    with precision("float64"):
        problem = from_matrix()
        for last in (5, 50):
            solution = sequential(problem, R, budget=(2, last, last))
            assert np.max(errors(problem, solution.components)[1:]) > 1e-2
        assert np.max(errors(problem, parallel(problem, R, rounds=60).components)) < 1e-8


@pytest.mark.parametrize("steps", [1, 3])
def test_alternating_terminates_exactly(steps):
    """Each component takes exactly one from the rank of what is left, converged or not: after
    rank M components nothing is left, with a single sweep each."""
    with precision("float64"):
        problem = from_matrix(SIZES[:R])
        solution = sequential(problem, R, budget=[steps] * R)
        assert float(problem.residual(solution.components)) < 1e-13 * SIZES[0]
        if steps == 1:
            assert np.max(errors(problem, solution.components)) > 1e-2


@pytest.mark.parametrize(
    ("way", "dtype"),
    [
        ("parallel", "float64"),
        thorough("parallel", "float32"),
        *(thorough("sequential", dtype) for dtype in DTYPES),
    ],
)
def test_more_components_than_the_target_has(way, dtype):
    """A target of rank 2 and four components: the last two are nothing, and the run converges."""
    with precision(dtype):
        problem = from_matrix(SIZES[:2])
        run = {"sequential": {"budget": 400}, "parallel": {"rounds": 100}}[way]
        solution = {"sequential": sequential, "parallel": parallel}[way](problem, 4, **run)
        assert solution.status is Status.CONVERGED
        sizes = np.linalg.norm(maps(solution.components), axis=(1, 2))
        np.testing.assert_allclose(sizes[:2], SIZES[:2], rtol=10 * ROUNDING[dtype])
        assert np.max(sizes[2:]) < 10 * ROUNDING[dtype]


# More components than a small target has converge below.
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("way", "options"),
    [(parallel, {"rounds": 60}), (sequential, {"budget": 200})],
)
def test_large_targets_of_low_rank_converge(way, options):
    """Rounding in products of hundreds of terms is not movement."""
    g = np.random.default_rng(0)
    target = (g.normal(size=(300, 2)) @ np.diag([3.0, 1]) @ g.normal(size=(2, 400))) / 300
    solution = way(Regression.from_matrix(target), 4, **options)
    assert solution.status is Status.CONVERGED, solution.message
