"""A run in rounds, in portions, mapped and compiled: the same numbers, and what a way refuses."""

import functools

import jax
import numpy as np
import pytest

from deflation import (
    Components,
    Regression,
    Status,
    advance,
    budgets,
    exact,
    finish,
    gradient_descent,
    joint,
    parallel,
    sequential,
    start,
    step,
)
from tests.deflation.problems import (
    D,
    M,
    R,
    close,
    data,
    errors,
    from_matrix,
    maps,
    matrix,
    precision,
    thorough,
)


def test_a_start_has_the_budget_of_its_way():
    """`sequential` is `start`, one `advance` and `finish`: its default is 50 rounds each."""
    state = start(from_matrix(), R, method="sequential")
    np.testing.assert_array_equal(state.controls.steps, [50] * R)
    whole = sequential(from_matrix(), R)
    assert int(whole.rounds) == 50 * R
    parts = finish(advance(state, 50 * R))
    np.testing.assert_array_equal(parts.components.b, whole.components.b)


@pytest.mark.parametrize("method", [thorough("sequential"), "parallel", thorough("joint")])
def test_single_steps_are_the_rounds(method):
    """`step` in a scan makes the trajectory that `advance` follows."""
    solver = gradient_descent(0.05)
    with precision("float64"):
        options = {"budget": [2, 2, 2]} if method == "sequential" else {}
        state = start(from_matrix(), R, solver, method=method, **options)
        wanted = advance(state, 5)

        def one(state, _):
            state = step(state)
            return state, state.progress.factors.b

        last, path = jax.jit(lambda s: jax.lax.scan(one, s, length=5))(state)
        close(last.progress.factors.b, wanted.progress.factors.b, "float64")
        close(path[-1], wanted.progress.factors.b, "float64")
        assert int(last.progress.round) == 5


def test_portions_equal_the_whole():
    for method in ("sequential", "parallel"):
        options = {"budget": [3, 3, 3]} if method == "sequential" else {}
        state = start(from_matrix(), R, method=method, **options)
        whole = advance(state, 6)
        parts = advance(advance(state, 2), 4)
        for got, wanted in zip(
            jax.tree.leaves((parts.progress._replace(key=()), parts.history)),
            jax.tree.leaves((whole.progress._replace(key=()), whole.history)),
            strict=True,
        ):
            np.testing.assert_array_equal(got, wanted)


def test_a_finished_run_does_not_change():
    state = advance(start(from_matrix(), R, tolerance=1e-2), 50)
    assert bool(np.all(state.progress.done))
    more = jax.jit(step)(advance(state, 5))
    assert int(more.progress.round) == int(state.progress.round)
    np.testing.assert_array_equal(more.progress.factors.b, state.progress.factors.b)
    assert more.history.size.shape == state.history.size.shape


def test_keys_choose_the_first_factors():
    problem = from_matrix()
    one, same, other = (
        parallel(problem, R, rounds=3, key=jax.random.key(k)).components.b for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.max(np.abs(one - other)) > 1e-3
    default = parallel(problem, R, rounds=3).components.b
    np.testing.assert_array_equal(
        default, parallel(problem, R, rounds=3, key=jax.random.key(0)).components.b
    )


TRANSFORMED = {
    "exact": lambda p: exact(p, R),
    "parallel": lambda p: parallel(p, R, rounds=40),
    "tolerance": lambda p: parallel(p, R, rounds=40, tolerance=1e-5),
    "sequential": lambda p: sequential(p, R, budget=60),
    "joint": lambda p: joint(p, R, gradient_descent(0.05), rounds=10),
}


def batched(way: str):
    """The problem of a target, and targets of three runs; the exact answer is that of data."""
    if way != "exact":
        return Regression.from_matrix, np.stack([matrix(), 1.5 * matrix(), matrix(seed=3)])
    x, y = data()
    problem = functools.partial(Regression.from_data, x)
    return problem, np.stack([y, 1.5 * y, y + 0.1 * matrix(seed=3) @ x])


# Compiled and of many runs is compiled and more.
@pytest.mark.thorough
@pytest.mark.parametrize("way", TRANSFORMED)
def test_jit(way):
    """Traced, every way gives the answer it gives outside, and a status as an array."""
    problem, (y, *_) = batched(way)
    with precision("float64"):

        def run(y):
            return TRANSFORMED[way](problem(y))

        compiled, outside = jax.jit(run)(y), run(y)
        assert isinstance(compiled.status, jax.Array) and compiled.status.shape == ()
        assert int(compiled.status) == int(outside.status)
        close(maps(compiled.components), maps(outside.components), "float64", 100)


# With a tolerance is without one and more: runs of a batch end after different rounds.
@pytest.mark.parametrize(
    "way", [way if way == "tolerance" else thorough(way) for way in TRANSFORMED]
)
def test_vmap(way):
    """The same of many runs in one program, each as it is alone."""
    problem, batch = batched(way)
    with precision("float64"):

        def run(y):
            return TRANSFORMED[way](problem(y))

        separate = [run(y) for y in batch]
        many = jax.jit(jax.vmap(run))(batch)
        assert isinstance(many.status, jax.Array) and many.status.shape == (3,)
        np.testing.assert_array_equal(many.status, [int(s.status) for s in separate])
        np.testing.assert_array_equal(many.rounds, [int(s.rounds) for s in separate])
        for k, one in enumerate(separate):
            got = Components(many.components.b[k], many.components.a[k])
            close(maps(got), maps(one.components), "float64", 100)


# test_vmap holds batches of problems.
@pytest.mark.thorough
def test_vmap_over_keys():
    with precision("float64"):
        problem = from_matrix()
        keys = jax.random.split(jax.random.key(5), 3)
        run = jax.vmap(lambda key: parallel(problem, R, rounds=4, key=key).components)
        many = jax.jit(run)(keys)
        for k, key in enumerate(keys):
            one = parallel(problem, R, rounds=4, key=key).components
            close(many.b[k], one.b, "float64", 10)


@pytest.mark.parametrize(
    ("shape", "way"),
    [
        *(((1, 1), way) for way in (exact, parallel, sequential)),
        *(thorough((1, 4), way) for way in (exact, parallel, sequential)),
        *(thorough((4, 1), way) for way in (exact, parallel, sequential)),
    ],
)
def test_every_shape(shape, way):
    """One row, one column, one entry."""
    target = np.random.default_rng(shape[0] * 10 + shape[1]).normal(size=shape)
    options = {"rounds": 60} if way is parallel else {}
    solution = way(Regression.from_matrix(target), 1, **options)
    close(solution.components.matrix(), target, "float32", 5)


def test_exact_of_data_with_nothing_to_learn_inside_the_inputs():
    """Y orthogonal to the rows of X: the best model is zero, and that is no failure."""
    x = np.eye(D)[:, :2]
    wide = np.hstack([x, np.zeros((D, 3))])
    y = np.hstack([np.zeros((M, 2)), np.ones((M, 3))])
    problem = Regression.from_data(wide, y)
    for solution in (exact(problem, 2), parallel(problem, 2), sequential(problem, 2)):
        assert solution.status is Status.CONVERGED
        np.testing.assert_array_equal(solution.components.matrix(), np.zeros((M, D)))
        np.testing.assert_allclose(problem.residual(solution.components), np.sqrt(3 * M), rtol=1e-6)


def test_adaptive_budget_is_used():
    """Steps that the first two components do not need go to the third."""
    with precision("float64"):
        problem = from_matrix()
        plain = budgets.Budget((30, 30, 3))
        runs = {
            name: start(problem, R, method="sequential", budget=b, tolerance=1e-3)
            for name, b in (("plain", plain), ("adaptive", budgets.adaptive(plain)))
        }
        runs = {name: advance(state, plain.total) for name, state in runs.items()}
        spent = {name: np.asarray(state.progress.spent) for name, state in runs.items()}
        assert np.all(spent["plain"][:2] < 30) and spent["plain"][2] == 3
        np.testing.assert_array_equal(spent["adaptive"][:2], spent["plain"][:2])
        assert 3 < spent["adaptive"][2] <= plain.total - spent["plain"][:2].sum()
        left = {name: errors(problem, finish(state).components)[2] for name, state in runs.items()}
        assert left["adaptive"] < left["plain"]


def test_adaptive_budget_is_never_exceeded():
    """Without a tolerance nothing is left over, and the plain budget is what is spent."""
    plain = budgets.Budget((2, 4, 3))
    for budget in (plain, budgets.adaptive(plain)):
        state = advance(start(from_matrix(), R, method="sequential", budget=budget), 50)
        np.testing.assert_array_equal(state.progress.spent, plain.steps)


@pytest.mark.parametrize(
    ("method", "option", "default"),
    [
        ("parallel", {"reoptimise": 2}, "0"),
        ("parallel", {"budget": [3, 3, 3]}, "None"),
        ("sequential", {"advance": False}, "True"),
        ("sharded", {"full_rank": 1}, "0"),
        ("joint", {"orthogonal": True}, "False"),
    ],
)
def test_options_of_other_methods_are_refused(method, option, default):
    (name,) = option
    solver = gradient_descent(0.05)
    with pytest.raises(ValueError, match=f"{name} is .* with method '{method}' is {default}"):
        start(from_matrix(), R, solver, method=method, **option)
