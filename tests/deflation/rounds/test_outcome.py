"""How runs end: every status is produced by a case, and speaks of the right component."""

import jax
import jax.numpy as jnp
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
    joint,
    krylov,
    parallel,
    sequential,
    sharded,
    start,
)
from tests.deflation.problems import (
    D,
    M,
    R,
    by_turns,
    close,
    from_matrix,
    maps,
    matrix,
    precision,
    thorough,
    triplets,
)

WAYS = {
    "sequential": lambda p, n, **o: sequential(p, R, budget=n * R, **o),
    "parallel": lambda p, n, **o: parallel(p, R, rounds=n, **o),
    "sharded": lambda p, n, **o: sharded(p, R, rounds=n, **o),
}
DTYPES = ("float32", "float64")


def told(solution):
    return solution.status, int(solution.component)


@pytest.mark.parametrize(
    ("way", "dtype"),
    [
        ("sequential", "float32"),
        ("parallel", "float64"),
        thorough("sequential", "float64"),
        thorough("parallel", "float32"),
        *(thorough("sharded", dtype) for dtype in DTYPES),
    ],
)
def test_converged(way, dtype):
    with precision(dtype):
        solution = WAYS[way](from_matrix(), 60)
        assert told(solution) == (Status.CONVERGED, 0)
        assert "every component is within" in solution.message
        assert isinstance(solution.status, Status)


@pytest.mark.parametrize("way", [thorough(way) if way == "sharded" else way for way in WAYS])
def test_budget_spent(way):
    solution = WAYS[way](from_matrix(), 3)
    assert told(solution) == (Status.BUDGET_SPENT, 1)
    assert "component 1" in solution.message and "raise rounds" in solution.message


def test_budget_spent_at_one_component():
    """The others had enough."""
    solution = sequential(from_matrix(), R, budget=(80, 3, 80))
    assert told(solution) == (Status.BUDGET_SPENT, 2)
    assert "component 2" in solution.message


def test_budget_spent_before_all_components_began():
    """Thirty sweeps are enough for the first two, as their bounds say, although the second has had
    one round only."""
    solution = parallel(from_matrix(), R, alternating(30), rounds=2, advance=False)
    assert told(solution) == (Status.BUDGET_SPENT, 3)
    np.testing.assert_array_equal(solution.components.b[2], 0)


def test_no_round_yet():
    solution = finish(start(from_matrix(), R))
    assert solution.status is Status.BUDGET_SPENT and int(solution.rounds) == 0
    np.testing.assert_array_equal(solution.components.matrix(), np.zeros((M, D)))


def test_tolerance_decides_what_converged_means():
    """The same rounds are enough for a loose tolerance and not for a tight one."""
    problem = from_matrix()
    loose = parallel(problem, R, rounds=14, tolerance=0.05)
    tight = parallel(problem, R, rounds=14, tolerance=1e-6)
    assert loose.status is Status.CONVERGED and tight.status is Status.BUDGET_SPENT


@pytest.mark.parametrize(
    ("way", "dtype"),
    [
        ("sequential", "float32"),
        ("parallel", "float64"),
        thorough("sequential", "float64"),
        thorough("parallel", "float32"),
        *(thorough("sharded", dtype) for dtype in DTYPES),
    ],
)
@pytest.mark.parametrize(("sizes", "component"), [((3, 3, 1, 0.2), 1), ((3, 2, 2, 0.2), 2)])
def test_tied_components(way, sizes, component, dtype):
    """Their sum is right, the components are one choice of many, and the user is told."""
    with precision(dtype):
        problem = from_matrix(sizes)
        solution = WAYS[way](problem, 80)
        assert told(solution) == (Status.SMALL_GAP, component)
        assert f"component {component}" in solution.message
        close(solution.components.matrix(), triplets(matrix(sizes)).sum(0), dtype, 20)


@pytest.mark.parametrize("way", ["parallel", thorough("sharded")])
def test_components_that_still_turn_into_each_other(way):
    """A gap of 1e-3: more rounds would be needed by the hundred, but the sum is right already."""
    with precision("float64"):
        sizes = (3, 2, 1.998, 0.02)
        solution = WAYS[way](from_matrix(sizes), 100)
        assert solution.status is Status.SMALL_GAP
        assert int(solution.component) in (2, 3)
        best = triplets(matrix(sizes))
        # While two components turn, the later one lags a round: the sum is off by a share of the
        # turn, which adds less than 1e-6 of the smallest component's energy to the residual's.
        assert np.linalg.norm(solution.components.matrix() - best.sum(0)) < 1e-3 * sizes[2]
        assert np.max(np.abs(maps(solution.components)[1] - best[1])) > 1e-4


def test_near_components_whose_sum_is_not_right_yet():
    """The same gap, but too few rounds for the sum: raising them is the advice."""
    with precision("float64"):
        solution = parallel(from_matrix((3, 2, 1.998, 1.5)), R, rounds=6)
        assert solution.status is Status.BUDGET_SPENT


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((3, 2, 1, 0.2), (Status.CONVERGED, 0)),
        ((3, 3, 1, 0.2), (Status.SMALL_GAP, 1)),
        ((3, 2, 2, 0.2), (Status.SMALL_GAP, 2)),
        ((3, 2, 1, 1), (Status.RANK_CUTS_GROUP, 3)),  # so that not even the sum is determined
        ((3, 2), (Status.CONVERGED, 0)),  # zeros are no tie that matters
        ((1, 1, 1, 1, 1), (Status.RANK_CUTS_GROUP, 1)),
    ],
)
def test_exact_answers(sizes, wanted):
    with precision("float64"):
        assert told(exact(from_matrix(sizes), R)) == wanted


def test_joint_components_are_not_judged_one_by_one():
    solution = joint(from_matrix((3, 3, 3)), R, gradient_descent(0.1), rounds=1500)
    assert told(solution) == (Status.CONVERGED, 0)


@pytest.mark.parametrize("way", [thorough(way) if way == "sharded" else way for way in WAYS])
def test_divergence(way):
    solution = WAYS[way](from_matrix(), 40, solver=gradient_descent(5.0))
    assert told(solution) == (Status.NOT_FINITE, 1)
    assert "component 1" in solution.message and "step_size" in solution.message


@pytest.mark.parametrize("way", ["parallel", thorough("sequential")])
def test_values_that_could_not_be_checked(way):
    """Under jit entries are unknown beforehand; then the status, an array, speaks."""
    run = jax.jit(lambda t: WAYS[way](Regression.from_matrix(t), 5))
    for bad in (np.nan, np.inf):
        target = matrix()
        target[2, 3] = bad
        assert int(run(target).status) == Status.NOT_FINITE
    solution = run(matrix())
    assert isinstance(solution.status, jax.Array)
    assert solution.status.shape == () and jnp.issubdtype(solution.status.dtype, jnp.integer)
    assert Status(int(solution.status)) is Status.BUDGET_SPENT
    assert "component 1" in solution.message


# Divergence and entries that could not be checked end the same way.
@pytest.mark.thorough
@pytest.mark.parametrize("way", ["sequential", "parallel"])
def test_operators_that_return_nan(way):
    problem = Regression.from_operator(
        lambda v: jnp.nan * jnp.ones(M) * v[0], lambda u: jnp.nan * jnp.ones(D) * u[0], (M, D)
    )
    assert told(WAYS[way](problem, 5)) == (Status.NOT_FINITE, 1)


# tests/deflation/test_tolerance.py holds it of moves, test_bounds.py of bounds.
@pytest.mark.thorough
def test_a_slow_component_that_hardly_moves_has_not_converged():
    """Rates of 0.96 a round: the last move is within the tolerance, the error is not."""
    with precision("float64"):
        problem = from_matrix((1.0, 0.98, 0.9604, 0.5, 0.25))
        solution = parallel(problem, 2, rounds=1000, tolerance=1e-3)
        assert told(solution) == (Status.NOT_PROVED, 1)
        exactly = triplets(problem.target, 2)
        off = np.linalg.norm(maps(solution.components) - exactly, axis=(1, 2))
        assert np.all(off <= solution.bounds) and np.max(off) > 10e-3
        assert bool(solution.proved)


@pytest.mark.parametrize("way", ["parallel", thorough("sequential"), thorough("sharded")])
def test_bounds_of_every_way(way):
    with precision("float64"):
        solution = WAYS[way](from_matrix(), 15)
        off = maps(solution.components) - triplets(matrix())
        errors, whole = np.linalg.norm(off, axis=(1, 2)), np.linalg.norm(off.sum(0))
        assert np.all(errors <= solution.bounds) and np.all(solution.bounds < 1.01 * errors + 1e-13)
        assert whole <= solution.bound_of_sum < 1.01 * whole + 1e-13


def test_without_bounds_nothing_is_said_to_have_converged():
    state = advance(start(from_matrix(), R), 60)
    solution = finish(state, certify=False)
    assert solution.status is Status.NOT_PROVED and np.all(np.isinf(solution.bounds))
    assert finish(state).status is Status.CONVERGED
    bare = parallel(from_matrix(), R, rounds=60, certify=False)
    assert bare.status is Status.NOT_PROVED and np.all(np.isinf(bare.bounds))
    np.testing.assert_array_equal(maps(bare.components), maps(solution.components))


def test_text_of_one_run_and_of_many():
    problem = from_matrix()
    solution = parallel(problem, R, rounds=3)
    assert repr(solution).startswith(f"Solution(BUDGET_SPENT, rank {R}, 3 rounds, errors <= ")
    assert "\n" not in repr(solution)
    ends = [exact(from_matrix(sizes), R) for sizes in ((3, 2, 1, 0.2), (3, 3, 1, 0.2))]
    many = jax.tree.map(lambda *rows: np.stack(rows), *ends)  # as `jax.vmap` leaves them
    assert many.message == "2 runs: CONVERGED 1, SMALL_GAP 1" and many.message in repr(many)
    seen = []

    def traced(target):
        solution = parallel(Regression.from_matrix(target), R, rounds=3)
        seen.append((solution.message, repr(solution)))

    jax.eval_shape(traced, matrix())
    assert "while JAX traces" in seen[0][0] and "traced" in seen[0][1]


def test_solutions_of_before_there_were_bounds():
    new = parallel(from_matrix(), R, rounds=3)
    old = type(new)(*new[:6])
    assert old.bounds is None and repr(old) == f"Solution(BUDGET_SPENT, rank {R}, 3 rounds)"
    assert old.message == new.message


INITS = ("random", "sketch", Components(np.ones((R, M)), -np.eye(D)[:R]))
SOLVERS = (alternating(), krylov(), gradient_descent(steps=5))


# tests/deflation/problem/test_components.py holds the canonical form.
@pytest.mark.thorough
@pytest.mark.parametrize(("solver", "init"), by_turns(SOLVERS, INITS))
def test_published_factors_are_canonical(solver, init):
    """|a_k| = 1 in whitened coordinates, the largest entry of b_k positive, largest first."""
    with precision("float64"):
        b, a = parallel(from_matrix(), R, solver, rounds=100, init=init).components
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-12)
        peak = np.argmax(np.abs(b), axis=1)
        assert np.all(np.asarray(b)[np.arange(R), peak] > 0)
        sizes = np.linalg.norm(b, axis=1)
        assert np.all(np.diff(sizes) < 0)


def test_history_tells_sizes_and_changes():
    with precision("float64"):
        problem = from_matrix()
        previous = np.zeros((R, M, D))
        history = parallel(problem, R, rounds=6).history
        for rounds in range(1, 7):
            state = start(problem, R)
            found = maps(problem.to_original(advance(state, rounds).progress.factors))
            close(history.size[rounds - 1], np.linalg.norm(found, axis=(1, 2)), "float64")
            moved = np.linalg.norm(found - previous, axis=(1, 2))
            close(history.change[rounds - 1], moved, "float64", 10)
            previous = found
