"""When a run stops: tolerances of changes and of errors, budgets."""

import numpy as np
import pytest

from deflation import (
    Status,
    alternating,
    exact,
    krylov,
    parallel,
    sequential,
    sharded,
)
from deflation.solvers.alternating import Alternating
from tests.deflation.problems import (
    ROUNDING,
    D,
    R,
    by_turns,
    errors,
    from_matrix,
    precision,
    thorough,
)
from tests.deflation.test_ways import DTYPES

WAYS = {
    "sequential": (sequential, {"budget": 600}),
    "parallel": (parallel, {"rounds": 200}),
    "sharded": (sharded, {"rounds": 200}),
}


# That sharded stops as parallel does is held by tests/deflation/test_sharded.py.
ALONE = ("sequential", "parallel")


def here(values) -> list:
    """Ways that are not sharded by turns with `values`; sharded is thorough."""
    return [*by_turns(ALONE, values), *(thorough("sharded", value) for value in values)]


@pytest.mark.parametrize(("way", "dtype"), here(DTYPES))
def test_tolerance_stops_early(way, dtype):
    run, budget = WAYS[way]
    tolerance = 1e-3
    with precision(dtype):
        problem = from_matrix()
        solution = run(problem, R, tolerance=tolerance, **budget)
        rounds = int(solution.rounds)
        assert solution.status is Status.CONVERGED
        assert 2 <= rounds < 60 * (R if way == "sequential" else 1)
        assert solution.history.change.shape == (rounds, R)
        change, size = (np.asarray(rows) for rows in solution.history)
        if way == "sequential":
            # A component's last change of its own is within the tolerance.
            for k in range(R):
                assert change[-1, k] <= tolerance * size[-1, k]
        else:
            # Done in the order of deflation: k meets the tolerance no sooner than k - 1.
            met = [np.argmax(change[:, k] <= tolerance * size[:, k]) for k in range(R)]
            last = [np.max(np.flatnonzero(change[:, k] > 0)) for k in range(R)]
            assert met[0] > 0 and last == sorted(last)
        # A change below the tolerance leaves an error of tolerance / (1 - rate), rate (2/3)^2.
        assert np.max(errors(problem, solution.components)) < 10 * tolerance


SLOW = (1.0, 0.98, 0.9604, 0.5, 0.25)


SOLVERS = (alternating(), krylov(2), alternating(consistent=True))


@pytest.mark.parametrize(
    ("way", "solver"),
    [
        ("parallel", alternating()),
        *(thorough("parallel", solver) for solver in SOLVERS[1:]),
        *(thorough(way, solver) for way in ("sequential", "sharded") for solver in SOLVERS),
    ],
)
def test_tolerance_of_the_error(way, solver):
    """Rates of 0.96 a round: a component that moves by the tolerance is far from where it goes.
    Krylov rounds are faster, but the ratio of two of their moves is no rate."""
    run, tolerance = WAYS[way][0], 1e-3
    budget = {"budget": 3000} if way == "sequential" else {"rounds": 1000}
    with precision("float64"):
        problem = from_matrix(SLOW)
        off = {}
        for measure in ("move", "error"):
            solution = run(problem, 2, solver, tolerance=tolerance, tolerance_of=measure, **budget)
            assert int(solution.rounds) < 1000
            off[measure] = np.max(errors(problem, solution.components, 2)) / tolerance
            # What stops a run is no claim: the status says what the bounds prove of it.
            if not 0.9 < off[measure] <= 1:
                right = off[measure] <= 1
                assert solution.status is (Status.CONVERGED if right else Status.NOT_PROVED)
        assert off["error"] < 2
        assert off["move"] > (10 if isinstance(solver, Alternating) else off["error"])


@pytest.mark.parametrize(
    ("way", "dtype", "solver"),
    [
        ("sequential", "float32", alternating()),
        thorough("parallel", "float64", krylov(3)),
        *(thorough("sharded", dtype, alternating()) for dtype in DTYPES),
        thorough("sequential", "float64", krylov(3)),
        thorough("parallel", "float32", alternating()),
    ],
)
def test_tolerance_of_the_error_stops_at_rounding(way, dtype, solver):
    """Where moves are rounding they have no rate; asking for no error at all comes to an end."""
    run, budget = WAYS[way]
    with precision(dtype):
        solution = run(from_matrix(), R, solver, tolerance=0.0, tolerance_of="error", **budget)
        assert solution.status is Status.CONVERGED
        assert int(solution.rounds) < next(iter(budget.values()))
        assert np.max(errors(from_matrix(), solution.components)) < 20 * ROUNDING[dtype]


def test_the_first_two_rounds_have_no_rate():
    """From the answer itself the third round is the first that can say so."""
    with precision("float64"):
        problem = from_matrix()
        near = exact(problem, R).components
        near = near._replace(a=near.a + 1e-3 * np.random.default_rng(0).normal(size=(R, D)))
        for measure, rounds in (("move", 1), ("error", 3)):
            options = {"init": near, "tolerance": 0.1, "tolerance_of": measure}
            solution = parallel(problem, R, rounds=9, **options)
            assert int(solution.rounds) == rounds and solution.status is Status.CONVERGED


def test_what_a_run_without_time_says_of_its_error():
    """Whether a run whose budget ended is said to move is judged as its stopping; neither of these
    is within the tolerance."""
    with precision("float64"):
        problem = from_matrix(SLOW)
        options = {"rounds": 120, "tolerance": 1e-3}
        moved, far = (parallel(problem, 2, tolerance_of=m, **options) for m in ("move", "error"))
        assert moved.status is Status.NOT_PROVED and far.status is Status.BUDGET_SPENT


def test_a_looser_tolerance_needs_fewer_rounds():
    problem = from_matrix()
    counts = [int(parallel(problem, R, tolerance=t).rounds) for t in (1e-1, 1e-2, 1e-4)]
    assert counts == sorted(set(counts))


def test_no_tolerance_spends_the_budget():
    assert int(parallel(from_matrix(), R, rounds=200).rounds) == 200


def test_zero_tolerance_waits_for_rounding():
    with precision("float64"):
        solution = parallel(from_matrix(), R, rounds=400, tolerance=0.0)
        assert int(solution.rounds) < 400
        assert np.max(errors(from_matrix(), solution.components)) < 1e-12
