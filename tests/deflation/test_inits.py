"""Where a run begins: at random, at a sketch, at given components."""

import numpy as np
import pytest

from deflation import (
    Components,
    Regression,
    alternating,
    exact,
    gradient_descent,
    krylov,
    parallel,
    start,
)
from tests.deflation.problems import (
    SIZES,
    D,
    R,
    close,
    data,
    errors,
    from_data,
    from_matrix,
    maps,
    matrix,
    orthonormal,
    precision,
    thorough,
    triplets,
)


@pytest.mark.parametrize(
    "solver", [alternating(), thorough(gradient_descent(steps=5)), thorough(krylov(2))]
)
def test_every_start_reaches_the_answer(solver):
    """Cold, sketched, and from given components; the better the start, the fewer rounds."""
    with precision("float64"):
        problem = from_data()
        answer = exact(problem, R).components
        g = np.random.default_rng(0)
        near = Components(answer.b, answer.a * (1 + 1e-3 * g.normal(size=(R, D))))
        rounds = {}
        for name, init in (("random", "random"), ("sketch", "sketch"), ("near", near)):
            solution = parallel(problem, R, solver, rounds=400, tolerance=1e-9, init=init)
            assert np.max(errors(problem, solution.components)) < 1e-6
            rounds[name] = int(solution.rounds)
        # The sketch of a target this small is the answer.
        assert rounds["sketch"] < rounds["near"] < rounds["random"]


def test_a_sketch_is_as_good_as_the_next_singular_values():
    """Halko, Martinsson and Tropp: close to the leading components of a decaying spectrum."""
    with precision("float64"):
        left, right = orthonormal(60, 30, 1), orthonormal(30, 30, 2)
        problem = Regression.from_matrix((left * 0.7 ** np.arange(30)) @ right.T)
        factors = start(problem, R, init="sketch").progress.factors
        # (s_12 / s_3)^3, the exponent of one power step, times a modest constant.
        assert np.max(errors(problem, factors)) < 10 * 0.7 ** (3 * (R + 8 + 1 - R))


def test_sketch_of_a_low_rank_target_is_exact():
    with precision("float64"):
        problem = from_matrix(SIZES[:R])
        state = start(problem, R, init="sketch")
        close(maps(state.progress.factors), triplets(matrix(SIZES[:R])), "float64", 10)


def test_warm_restart_after_an_update():
    """New columns move the answer a little; from the old components it takes fewer rounds."""
    x, y = data()
    new = data(seed=0, n=50)
    with precision("float64"):
        old = Regression.from_data(x, y)
        before = parallel(old, R, rounds=200).components
        problem = old.update(0.1 * new[0][:, :5], 0.1 * new[1][:, :5])
        runs = {
            name: parallel(problem, R, rounds=400, tolerance=1e-8, init=init)
            for name, init in (("cold", "random"), ("warm", before))
        }
        assert int(runs["warm"].rounds) < int(runs["cold"].rounds)
        for run in runs.values():
            assert np.max(errors(problem, run.components)) < 1e-6


def test_given_components_are_published_at_once():
    with precision("float64"):
        problem = from_matrix()
        given = exact(problem, R).components
        got = parallel(problem, R, rounds=1, init=given).components
        close(maps(got), maps(given), "float64")
