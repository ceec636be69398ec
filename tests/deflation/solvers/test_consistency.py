"""A consistent round is Gauss-Seidel worker after worker, by one triangular solve per factor."""

import dataclasses

import jax
import numpy as np
import pytest

from deflation import Components, Status, advance, alternating, exact, parallel, sharded, start
from tests.deflation.problems import (
    ROUNDING,
    SIZES,
    D,
    M,
    R,
    by_turns,
    close,
    errors,
    from_data,
    from_matrix,
    maps,
    matrix,
    one_line,
    precision,
)

SOLVER = alternating(consistent=True)


def by_worker(target, old, working):
    """One sweep, one worker after the other: all b against the new b, then all a against the new
    rank-one maps; resting workers keep theirs and are subtracted as they are."""
    b, a = (np.array(rows, float) for rows in old)
    r = len(b)
    for k in range(r):
        if working[k]:
            b[k] = (target - sum(np.outer(b[j], a[j]) for j in range(k))) @ a[k]
    found = [np.outer(b[k], a[k]) for k in range(r)]
    for k in range(r):
        if working[k]:
            u = b[k] / np.linalg.norm(b[k])
            found[k] = np.outer(u, (target - sum(found[:k])).T @ u)
    return np.stack(found)


@pytest.mark.parametrize("resting", [(), (0,), (1,)])
@pytest.mark.parametrize("seed", range(3))
def test_one_round_is_gauss_seidel(seed, resting):
    with precision("float64"):
        g = np.random.default_rng(seed)
        init = Components(g.normal(size=(R, M)), g.normal(size=(R, D)))
        state = start(from_matrix(), R, SOLVER, init=init)
        working = np.array([k not in resting for k in range(R)])
        progress = state.progress._replace(done=jax.numpy.asarray(~working))
        state = dataclasses.replace(state, progress=progress)
        wanted = by_worker(matrix(), state.progress.factors, working)
        close(maps(advance(state, 1).progress.factors), wanted, "float64")


# test_every_start_reaches_the_exact_answer ends in it.
@pytest.mark.thorough
def test_the_exact_answer_is_a_fixed_point():
    with precision("float64"):
        problem = from_data()
        answer = exact(problem, R).components
        for solver in (SOLVER, alternating()):
            kept = parallel(problem, R, solver, rounds=3, init=answer).components
            close(maps(kept), maps(answer), "float64")


@pytest.mark.parametrize(
    ("options", "dtype"), by_turns([{}, {"staggered": False}, {"advance": False}], list(ROUNDING))
)
def test_every_start_reaches_the_exact_answer(options, dtype):
    with precision(dtype):
        problem = from_data()
        solution = parallel(problem, R, SOLVER, rounds=80, **options)
        assert solution.status is Status.CONVERGED
        assert np.max(errors(problem, solution.components)) < 20 * ROUNDING[dtype]


# What a round does is held above, and where a run ends.
@pytest.mark.thorough
@pytest.mark.parametrize("rounds", [2, 4, 8])
def test_nearer_than_without_after_as_many_rounds(rounds):
    """Published at once from a random start: no round is lost to predecessors that still move."""
    with precision("float64"):
        problem = from_matrix()
        left = [
            float(problem.residual(parallel(problem, R, s, staggered=False, rounds=rounds)[0]))
            for s in (SOLVER, alternating())
        ]
        assert left[0] < left[1]


def test_workers_that_begin_in_one_direction_part():
    with precision("float64"):
        init = Components(np.ones((R, M)), np.ones((R, D)))
        solution = parallel(from_matrix(), R, SOLVER, rounds=120, init=init)
        assert np.max(errors(from_matrix(), solution.components)) < 1e-10


# tests/deflation/test_ways.py holds it of alternating least squares.
@pytest.mark.thorough
def test_more_components_than_the_target_has():
    with precision("float64"):
        solution = parallel(from_matrix(SIZES[:2]), 4, SOLVER, rounds=100)
        sizes = np.linalg.norm(maps(solution.components), axis=(1, 2))
        np.testing.assert_allclose(sizes, [*SIZES[:2], 0, 0], atol=1e-11)


# On several devices the round is the same; tests/deflation/test_sharded.py holds those.
@pytest.mark.thorough
@pytest.mark.parametrize("devices", [2, 3])
def test_sharded_is_the_same(devices):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("worker",))
    with precision("float64"):
        problem = from_data()
        for options in ({"rounds": 6}, {"rounds": 60, "tolerance": 1e-3, "init": "sketch"}):
            got = sharded(problem, R, SOLVER, mesh=mesh, **options)
            wanted = parallel(problem, R, SOLVER, **options)
            assert int(got.rounds) == int(wanted.rounds)
            close(maps(got.components), maps(wanted.components), "float64")


def test_what_does_not_go_together():
    with pytest.raises(ValueError) as error:
        alternating(2, consistent=True)
    assert "sweeps" in one_line(error)
    with pytest.raises(ValueError) as error:
        parallel(from_matrix(), R, SOLVER, orthogonal=True)
    assert "orthogonal" in one_line(error)


def test_consistent_workers_see_no_old_predecessors():
    with pytest.raises(ValueError, match="staleness is 1; allowed with"):
        start(from_matrix(), 2, alternating(consistent=True), method="parallel", staleness=1)
