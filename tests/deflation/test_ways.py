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
    budgets,
    exact,
    finish,
    gradient_descent,
    joint,
    krylov,
    parallel,
    sequential,
    sharded,
    start,
    step,
)
from deflation.solvers.alternating import Alternating
from tests.deflation.problems import (
    ROUNDING,
    SIZES,
    D,
    M,
    R,
    close,
    data,
    errors,
    from_data,
    from_matrix,
    maps,
    matrix,
    one_line,
    orthonormal,
    precision,
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
@pytest.mark.parametrize("advance", [True, False])
@pytest.mark.parametrize("staggered", [True, False])
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", [alternating(), gradient_descent(steps=10), krylov()])
@pytest.mark.parametrize("make", [from_matrix, from_data])
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


@pytest.mark.parametrize("advance", [True, False])
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


@pytest.mark.parametrize("options", [{}, {"staggered": False}, {"advance": False}])
@pytest.mark.parametrize("dtype", DTYPES)
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


@pytest.mark.parametrize("way", ["sequential", "parallel"])
@pytest.mark.parametrize("dtype", DTYPES)
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


def test_large_targets_of_low_rank_converge():
    """Rounding in products of hundreds of terms is not movement."""
    g = np.random.default_rng(0)
    target = (g.normal(size=(300, 2)) @ np.diag([3.0, 1]) @ g.normal(size=(2, 400))) / 300
    for way, options in ((parallel, {"rounds": 60}), (sequential, {"budget": 200})):
        solution = way(Regression.from_matrix(target), 4, **options)
        assert solution.status is Status.CONVERGED, solution.message


WAYS = {
    "sequential": (sequential, {"budget": 600}),
    "parallel": (parallel, {"rounds": 200}),
    "sharded": (sharded, {"rounds": 200}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS)
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


@pytest.mark.parametrize("solver", [alternating(), alternating(consistent=True), krylov(2)])
@pytest.mark.parametrize("way", WAYS)
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS)
def test_tolerance_of_the_error_stops_at_rounding(way, dtype):
    """Where moves are rounding they have no rate; asking for no error at all comes to an end."""
    run, budget = WAYS[way]
    with precision(dtype):
        for solver in (alternating(), krylov(3)):
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


@pytest.mark.parametrize("solver", [alternating(), gradient_descent(steps=5), krylov(2)])
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


def test_joint_finds_the_sum_and_not_the_components():
    with precision("float64"):
        problem = from_matrix()
        solution = joint(problem, R, gradient_descent(0.08), rounds=3000)
        assert solution.status is Status.CONVERGED
        wanted = triplets(matrix())
        close(solution.components.matrix(), wanted.sum(0), "float64", 1e4)
        assert np.min(errors(problem, solution.components)) > 0.1
        # So a prefix of it is no best smaller model.
        best = np.sqrt(np.sum(np.square(SIZES[1:])))
        assert float(problem.residual(solution.components.prefix(1))) > 1.1 * best


def test_joint_needs_a_step_size():
    for solver in (None, alternating(), krylov(), gradient_descent()):
        with pytest.raises(ValueError) as error:
            joint(from_matrix(), R, solver)
        assert "solver" in one_line(error) and "gradient_descent(step_size)" in one_line(error)


@pytest.mark.parametrize("solver", [alternating(), gradient_descent(steps=3), krylov(2)])
@pytest.mark.parametrize("way", ["sequential", "parallel"])
def test_orthogonality(way, solver):
    """Off by default; on, factors are orthogonal to rounding in output coordinates."""
    with precision("float64"):
        problem = from_data()
        run = {
            "sequential": lambda **o: sequential(problem, R, solver, budget=(4, 4, 4), **o),
            # Predecessors must have come to rest: a worker sees those of the round before.
            "parallel": lambda **o: parallel(problem, R, solver, rounds=300, **o),
        }[way]
        products = {}
        for on in (False, True):
            factors = problem.to_whitened(run(orthogonal=on).components)
            products[on] = 0.0
            for rows in factors:
                unit = np.asarray(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
                products[on] = max(products[on], np.max(np.abs(unit @ unit.T - np.eye(R))))
        assert products[True] < 1e-12
        if way == "sequential":
            assert products[False] > 1e-3
        close(maps(run().components), maps(run(orthogonal=False).components), "float64")


@pytest.mark.parametrize("solver", [alternating(), gradient_descent(steps=3), krylov(2)])
@pytest.mark.parametrize("option", ["reoptimise", "full_rank"])
def test_extensions_of_sequential_runs(option, solver):
    """Off by default; after the last component they cannot make the sum of a run worse."""
    with precision("float64"):
        problem = from_data()

        def left(rank, **options):
            solution = sequential(problem, rank, solver, budget=[2, 3, 3][:rank], **options)
            return float(problem.residual(solution.components))

        plain = left(R)
        assert left(R, **{option: 0}) == plain
        assert left(R, **{option: R + 1}) == plain  # never due
        assert left(R, **{option: 1}) < plain
        assert left(R, **{option: R}) < plain
        assert left(2, **{option: 2}) < left(2)


def test_a_full_rank_step_is_the_joint_least_squares_one():
    """After the last component: all b for the found a, then all a for those b."""
    with precision("float64"):
        problem, target = from_matrix(), matrix()
        plain = sequential(problem, R, budget=(2, 2, 2)).components
        b = target @ np.linalg.pinv(np.asarray(plain.a))
        wanted = b @ np.linalg.pinv(b) @ target
        got = sequential(problem, R, budget=(2, 2, 2), full_rank=R).components
        close(got.matrix(), wanted, "float64")


def test_reoptimisation_is_a_round_against_all_others():
    with precision("float64"):
        problem, target = from_matrix(), matrix()
        plain = sequential(problem, R, budget=(2, 2, 2)).components
        found = list(maps(plain))
        for k in range(R):
            left = target - sum(found[:k] + found[k + 1 :])
            a = left.T @ left @ np.asarray(plain.a)[k]
            a /= np.linalg.norm(a)
            found[k] = np.outer(left @ a, a)
        got = sequential(problem, R, budget=(2, 2, 2), reoptimise=R).components
        close(maps(got), found, "float64")


def test_a_start_has_the_budget_of_its_way():
    """`sequential` is `start`, one `advance` and `finish`: its default is 50 rounds each."""
    state = start(from_matrix(), R, method="sequential")
    np.testing.assert_array_equal(state.controls.steps, [50] * R)
    whole = sequential(from_matrix(), R)
    assert int(whole.rounds) == 50 * R
    parts = finish(advance(state, 50 * R))
    np.testing.assert_array_equal(parts.components.b, whole.components.b)


@pytest.mark.parametrize("method", ["sequential", "parallel", "joint"])
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
    more = step(advance(state, 5))
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


@pytest.mark.parametrize("way", TRANSFORMED)
def test_jit_and_vmap(way):
    """Traced, every way gives the answer it gives outside, and a status as an array."""
    x, y = data()
    batch = np.stack([y, 1.5 * y, y + 0.1 * matrix(seed=3) @ x])
    with precision("float64"):

        def run(y):
            return TRANSFORMED[way](Regression.from_data(x, y))

        separate = [run(y) for y in batch]
        compiled, many = jax.jit(run)(y), jax.vmap(run)(batch)
        assert isinstance(compiled.status, jax.Array) and compiled.status.shape == ()
        assert isinstance(many.status, jax.Array) and many.status.shape == (3,)
        close(maps(compiled.components), maps(separate[0].components), "float64", 100)
        np.testing.assert_array_equal(many.status, [int(s.status) for s in separate])
        np.testing.assert_array_equal(many.rounds, [int(s.rounds) for s in separate])
        for k, one in enumerate(separate):
            got = Components(many.components.b[k], many.components.a[k])
            close(maps(got), maps(one.components), "float64", 100)


def test_vmap_over_keys():
    with precision("float64"):
        problem = from_matrix()
        keys = jax.random.split(jax.random.key(5), 3)
        many = jax.vmap(lambda key: parallel(problem, R, rounds=4, key=key).components)(keys)
        for k, key in enumerate(keys):
            one = parallel(problem, R, rounds=4, key=key).components
            close(many.b[k], one.b, "float64", 10)


def test_every_shape():
    """Wide, tall, one row, one column, one entry; the rank up to the smaller side."""
    for m, d in ((1, 1), (1, 4), (4, 1)):
        target = np.random.default_rng(m * 10 + d).normal(size=(m, d))
        problem = Regression.from_matrix(target)
        rank = min(m, d)
        for solution in (
            exact(problem, rank),
            parallel(problem, rank, rounds=60),
            sequential(problem, rank),
        ):
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
