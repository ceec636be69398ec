"""Stale predecessors: the twin in plain numpy, stopping, saving, and what waits for an exchange."""

import jax
import jax.extend
import numpy as np
import pytest

from deflation import (
    Components,
    Status,
    advance,
    alternating,
    exact,
    explained_energy,
    finish,
    gradient_descent,
    krylov,
    load,
    parallel,
    save,
    sharded,
    start,
    step,
)
from deflation.problem.components import distances, norms
from deflation.saving import FORMAT
from tests.deflation.problems import (
    ROUNDING,
    D,
    M,
    R,
    close,
    errors,
    from_data,
    from_matrix,
    maps,
    matrix,
    one_line,
    precision,
    thorough,
)
from tests.deflation.test_saving import refused, same
from tests.deflation.test_sharded import compare, mesh_of

TAUS = (0, 1, 2)


def reference(target, a, rounds, tau, staggered=True, advance=True):
    """Parallel deflation with stale predecessors, worker by worker, from its definition.

    In round l worker k fits M less what its predecessors had published after round l - 1 - tau,
    from its own factors after round l - 1; staggered, worker k (from 1) publishes from round
    1 + (k - 1) (tau + 1) on, which is when it sees all of them.
    """
    r = len(a)
    a, b = a.copy(), np.zeros((r, target.shape[0]))

    def published(number):
        if number < 1:
            return 0
        return min(r, 1 + (number - 1) // (tau + 1)) if staggered else r

    held = [np.zeros((r, *target.shape))]
    for number in range(1, rounds + 1):
        seen = max(number - 1 - tau, 0)
        for k in range(r):
            if not advance and k >= published(number):
                continue
            left = target - held[seen][: min(k, published(seen))].sum(0)
            a[k] = left.T @ left @ a[k]
            a[k] /= np.linalg.norm(a[k])
            b[k] = left @ a[k]
        held.append(b[:, :, None] * a[:, None, :])
    return held[-1] * (np.arange(r) < published(rounds))[:, None, None]


WAYS = [(1, True, False)]
WAYS += [thorough(2, False, True), *(thorough(tau, True, True) for tau in TAUS)]


@pytest.mark.parametrize(("tau", "staggered", "advance_"), WAYS)
def test_round_by_round(tau, staggered, advance_):
    options = {"staggered": staggered, "advance": advance_}
    with precision("float64"):
        state = start(from_matrix(), R, staleness=tau, **options)
        first = np.asarray(state.progress.factors.a)
        for rounds in range(1, 10):
            state = advance(state, 1)
            wanted = reference(matrix(), first, rounds, tau, **options)
            # Before they see their predecessors workers amplify rounding.
            close(maps(finish(state).components), wanted, "float64", 10)


# What a round does, and that a run ends right, is held above and below.
@pytest.mark.thorough
@pytest.mark.parametrize(("tau", "dtype"), [(1, "float32"), (4, "float64")])
@pytest.mark.parametrize("solver", [alternating(), gradient_descent(steps=10), krylov()])
def test_the_fixed_point_is_the_same(tau, dtype, solver):
    with precision(dtype):
        problem = from_data()
        solution = parallel(problem, R, solver, rounds=200, staleness=tau)
        assert solution.status is Status.CONVERGED
        assert np.max(errors(problem, solution.components)) < 20 * ROUNDING[dtype]
        given = exact(problem, R).components
        got = parallel(problem, R, solver, rounds=2 * tau, staleness=tau, init=given).components
        close(maps(got), maps(given), dtype, 10)


# Its first rounds are those of test_round_by_round.
@pytest.mark.thorough
def test_staleness_that_outlasts_the_run_is_no_deflation():
    """Nothing that was published is seen: all workers fit the whole target."""
    with precision("float64"):
        got = maps(parallel(from_matrix(), R, rounds=40, staleness=40, staggered=False).components)
        close(got[1], got[0], "float64", 100)


OPTIONS = {
    "plain": {},
    "at once": {"staggered": False},
    "resting": {"advance": False},
    "descent": {"solver": gradient_descent(steps=2)},
    "tolerance": {"tolerance": 1e-3, "rounds": 100},
    "error": {"tolerance": 1e-3, "tolerance_of": "error", "rounds": 100},
    "growing": {"grow": explained_energy(0.8), "rounds": 30},
    "orthogonal": {"orthogonal": True},
    "sketch": {"init": "sketch"},
    "one round": {"rounds": 1},
    "krylov": {"solver": krylov(3)},
}
# Several at a time, as every run is four programs to compile.
TOGETHER = {
    "descent, at once, tolerance": OPTIONS["descent"] | OPTIONS["at once"] | OPTIONS["tolerance"],
    "krylov, resting, error": OPTIONS["krylov"] | OPTIONS["resting"] | OPTIONS["error"],
    "orthogonal, sketch": OPTIONS["orthogonal"] | OPTIONS["sketch"],
}
# What a worker sees is chosen before its solver and its options: tests/deflation/test_sharded.py
# holds each of them, fresh, and these the buffer of what is stale.
CASES = [("plain", 3, 1), ("one round", 3, 1)]
CASES += [thorough(name, devices, 2) for name, devices in zip(TOGETHER, (3, 3, 8), strict=True)]
CASES += [
    thorough(name, 3, 1 + number % 2)
    for number, name in enumerate(OPTIONS)
    if name not in ("plain", "one round")
]
CASES += [thorough("plain", 1, 1), thorough("plain", 8, 1)]


@pytest.mark.parametrize(("name", "devices", "tau"), CASES)
def test_sharded_equals_parallel(name, devices, tau):
    """Four components on two devices that hold one and one that holds two, on one, on eight."""
    options = {"rounds": 14} | (OPTIONS | TOGETHER)[name] | {"staleness": tau}
    with precision("float64"):
        problem = from_data()
        wanted = parallel(problem, 4, **options)
        compare(sharded(problem, 4, mesh=mesh_of(devices), **options), wanted, "float64")


# Fresh, tests/deflation/test_portions.py holds it.
@pytest.mark.thorough
def test_single_steps_are_the_rounds():
    with precision("float64"):
        state = start(from_matrix(), R, staleness=2)
        wanted = advance(state, 6)

        def one(state, _):
            return step(state), None

        last, _ = jax.jit(lambda s: jax.lax.scan(one, s, length=6))(state)
        for got, rows in zip(
            jax.tree.leaves(last.progress._replace(key=())),
            jax.tree.leaves(wanted.progress._replace(key=())),
            strict=True,
        ):
            close(got, rows, "float64")


@pytest.mark.parametrize(("tau", "staggered"), [thorough(0, True), thorough(1, False), (3, True)])
def test_nobody_stops_before_what_it_saw_has_settled(tau, staggered):
    """In the round in which worker k ends: its predecessors have ended, and as the round saw them
    they are within the tolerance of what they are then."""
    tolerance = 1e-3
    with precision("float64"):
        problem = from_matrix()
        path = [start(problem, R, staleness=tau, staggered=staggered, tolerance=tolerance)]
        while not bool(np.all(path[-1].progress.done)):
            path.append(advance(path[-1], 1))
        for k in range(R):
            ended = next(t for t, s in enumerate(path) if s.progress.done[k])
            now, seen = (path[t].progress for t in (ended, ended - 1 - tau))
            assert np.all(now.done[: k + 1]) and int(seen.active) >= k
            gap = np.asarray(distances(now.factors, seen.factors))
            assert np.all((gap <= tolerance * np.asarray(norms(now.factors)) + 1e-14)[:k])
        solution = finish(path[-1])
        assert solution.status is Status.CONVERGED
        assert np.max(errors(problem, solution.components)) < 10 * tolerance


# test_nobody_stops_before_what_it_saw_has_settled holds the rule that this follows from.
@pytest.mark.thorough
@pytest.mark.parametrize("run", [parallel, sharded])
def test_workers_that_do_not_move_before_they_see_each_other_go_on(run):
    """A solver that is exact in a round, all published at once: until an exchange is seen all
    workers hold the first component and do not move."""
    with precision("float64"):
        problem = from_matrix()
        options = {"staggered": False, "tolerance": 1e-6, "rounds": 40}
        solution = run(problem, R, alternating(200), staleness=3, **options)
        moved = np.asarray(solution.history.change)
        assert np.all(moved[1:3] < 1e-6) and int(solution.rounds) > 8
        assert np.max(errors(problem, solution.components)) < 1e-6


# Fresh, tests/deflation/test_tolerance.py holds it.
@pytest.mark.thorough
def test_zero_tolerance_waits_for_rounding():
    with precision("float64"):
        solution = parallel(from_matrix(), R, rounds=400, tolerance=0.0, staleness=2)
        assert int(solution.rounds) < 400
        assert np.max(errors(from_matrix(), solution.components)) < 1e-12


@pytest.mark.parametrize("tau", [0, 1, thorough(2)])
def test_staggering_waits_until_a_worker_sees_all_before_it(tau):
    state = start(from_matrix(), R, staleness=tau)
    joined = []
    for _ in range(3 * tau + 4):
        state = advance(state, 1)
        joined.append(int(state.progress.active))
    assert [joined.index(k) + 1 for k in (1, 2, 3)] == [1, tau + 2, 2 * tau + 3]


RUNS = {
    "parallel": {},
    "tolerance": {"tolerance": 0.1},
    "sharded": {"method": "sharded", "mesh": mesh_of(3), "grow": explained_energy(0.8)},
}


@pytest.mark.parametrize("name", [thorough("parallel"), "tolerance", thorough("sharded")])
def test_resumed_equals_uninterrupted(tmp_path, name):
    path = tmp_path / "run.npz"
    state = start(from_data(), R, staleness=2, **RUNS[name])
    whole = advance(state, 9)
    save(path, advance(state, 4))
    same(advance(load(path, state), 5), whole)


# Fresh, tests/deflation/test_saving.py holds it.
@pytest.mark.thorough
def test_resumed_on_other_devices(tmp_path):
    path = tmp_path / "run.npz"
    with precision("float64"):
        problem = from_data()
        save(path, advance(start(problem, R, method="sharded", mesh=mesh_of(4), staleness=2), 5))
        got = finish(advance(load(path, start(problem, R, staleness=2)), 6))
        wanted = parallel(problem, R, rounds=11, staleness=2)
        close(maps(got.components), maps(wanted.components), "float64")


def test_files_of_another_staleness_or_of_the_format_before(tmp_path):
    path = tmp_path / "run.npz"
    state = start(from_matrix(), R, staleness=1)
    save(path, state)
    assert "staleness 1; allowed here is 2" in refused(path, start(from_matrix(), R, staleness=2))
    with np.load(path) as file:
        arrays = dict(file)
    description = str(arrays.pop("description")).replace(f'"format": {FORMAT}', '"format": 1')
    np.savez(path, description=np.asarray(description), **arrays)
    assert f"format 1; allowed here is {FORMAT}" in refused(path, state)


@pytest.mark.parametrize("method", ["sequential", "joint"])
def test_ways_without_rounds_of_many_refuse_it(method):
    with pytest.raises(ValueError) as error:
        start(from_matrix(), R, gradient_descent(0.05), method=method, staleness=1)
    assert one_line(error) == f"staleness is 1; allowed with method '{method}' is 0"


@pytest.mark.parametrize("value", [-1, 1.5, True, None, "1", np.ones(2)])
def test_what_is_no_number_of_rounds(value):
    for run in (parallel, sharded):
        with pytest.raises(ValueError) as error:
            run(from_matrix(), R, staleness=value)
        assert "staleness is" in one_line(error) and "integers >= 0" in str(error.value)


def test_components_are_those_of_the_type():
    past = start(from_matrix(), R, staleness=2).progress.past
    assert isinstance(past, Components)
    assert past.b.shape == (2, R, M) and past.a.shape == (2, R, D)
