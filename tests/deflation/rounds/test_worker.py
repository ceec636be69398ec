"""The one worker body: products with deflated targets; a block equals its workers one by one."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import Components, alternating, gradient_descent, krylov
from deflation.rounds.stopping import moves, remaining, rounding, settled
from deflation.rounds.worker import View, others, predecessors, select, work
from tests.deflation.problems import (
    D,
    M,
    R,
    by_turns,
    close,
    from_data,
    from_matrix,
    maps,
    matrix,
    precision,
    thorough,
)

DTYPES = ("float32", "float64")
VISIBLE = np.array([True, False, True])


def factors(dtype="float64", seed=0) -> Components:
    g = np.random.default_rng(seed)
    return Components(
        jnp.asarray(g.normal(size=(R, M)), dtype), jnp.asarray(g.normal(size=(R, D)), dtype)
    )


def test_who_is_subtracted():
    index = jnp.array([2, 0])
    np.testing.assert_array_equal(predecessors(index, VISIBLE), [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(others(index, VISIBLE), [[1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize(("rule", "dtype"), by_turns([predecessors, others], DTYPES))
def test_products_with_the_deflated_target(rule, dtype):
    """Against the dense M_k with its components subtracted one after the other."""
    with precision(dtype):
        published, rows = factors(dtype), factors(dtype, seed=1)
        index = jnp.arange(R)
        weights = rule(index, jnp.asarray(VISIBLE))
        view = View(from_matrix().target, published, weights.astype(dtype))
        for k in range(R):
            deflated = matrix().astype(dtype).astype(np.float64)
            for j in range(R):
                if weights[k, j]:
                    deflated = deflated - maps(published)[j]
            close(view.times(rows.a)[k], deflated @ np.asarray(rows.a, float)[k], dtype, 3)
            close(view.transposed(rows.b)[k], deflated.T @ np.asarray(rows.b, float)[k], dtype, 3)


SOLVERS = {
    "alternating": alternating(2),
    "fixed": gradient_descent(0.01, steps=2),
    "automatic": gradient_descent(steps=2),
    "original": gradient_descent(coordinates="original"),
    "krylov": krylov(3),
}


# Sweeps, steps and the space of a Krylov round are held of every worker by the tests of solvers.
BLOCKS = [("alternating", False), ("original", True)]
ALL = itertools.product(SOLVERS, (False, True))


@pytest.mark.parametrize(
    ("solver", "orthogonal"), BLOCKS + [thorough(*case) for case in ALL if case not in BLOCKS]
)
def test_a_block_equals_its_workers(solver, orthogonal):
    """Any partition of the workers into blocks gives the same factors."""
    with precision("float64"):
        problem, gathered = from_data(), factors()
        block_work = jax.jit(functools.partial(work, orthogonal=orthogonal))

        def run(index):
            index = np.asarray(index)
            weights = np.asarray(predecessors(index, VISIBLE))
            working = np.ones(len(index), bool)
            block = block_work(problem, SOLVERS[solver], gathered, index, weights, working)
            return np.concatenate(block, axis=1)

        whole = run([0, 1, 2])
        for blocks in ([[0], [1], [2]], [[0, 2], [1]]):
            pieces = np.concatenate([run(block) for block in blocks])
            order = np.argsort(np.concatenate(blocks))
            close(pieces[order], whole, "float64")


def test_resting_workers_keep_their_factors():
    with precision("float64"):
        gathered = factors()
        index = jnp.arange(R)
        working = jnp.array([False, True, False])
        weights = predecessors(index, jnp.asarray(VISIBLE))
        new = jax.jit(work)(from_matrix(), alternating(), gathered, index, weights, working)
        for new_rows, rows in zip(new, gathered, strict=True):
            np.testing.assert_array_equal(new_rows[::2], rows[::2])
            assert not np.array_equal(new_rows[1], rows[1])
        kept = select(working, new, gathered)
        np.testing.assert_array_equal(kept.b, new.b)


def test_orthogonal_work_leaves_the_span_of_the_predecessors():
    with precision("float64"):
        gathered = factors()
        index, visible = jnp.array([2]), jnp.array([True, False, True])
        weights = predecessors(index, visible)
        block_work = jax.jit(functools.partial(work, orthogonal=True))
        working = np.array([True])
        new = block_work(from_matrix(), alternating(), gathered, index, weights, working)
        for new_rows, rows in zip(map(np.asarray, new), map(np.asarray, gathered), strict=True):
            np.testing.assert_allclose(new_rows @ rows[0], 0, atol=1e-13)
            assert abs(float((new_rows @ rows[1])[0])) > 1e-3  # not visible, so not projected out


def test_settled_is_relative_above_the_floor_of_the_largest():
    with precision("float64"):
        unit = np.eye(M)[:1], np.eye(D)[:1]
        new = Components(
            np.concatenate([1.0 * unit[0], 1e-3 * unit[0], 1e-17 * unit[0]]),
            np.repeat(unit[1], 3, axis=0),
        )
        old = Components(new.b * np.array([[1 + 1e-6], [1 + 1e-2], [3.0]]), new.a)
        moved, sizes, drift = moves(new, old, new)
        np.testing.assert_allclose(moved, [1e-6, 1e-5, 2e-17], rtol=1e-6)
        np.testing.assert_allclose(sizes, [1.0, 1e-3, 1e-17], rtol=1e-12)
        np.testing.assert_array_equal(drift, 0)
        floor = rounding(sizes)
        # The second moved less than the first's tolerance, but not than its own.
        still = settled(moved, sizes, floor, jnp.asarray(1e-4))
        np.testing.assert_array_equal(still, [True, False, True])
        assert not np.any(settled(drift, sizes, floor, jnp.asarray(-1.0)))
        assert np.all(settled(drift, sizes, floor, jnp.asarray(0.0)))


def test_the_error_left_is_the_sum_of_the_moves_to_come():
    """At one rate, and where two factors take turns."""
    with precision("float64"):
        for factors in ((0.9, 0.9), (0.1, 0.1), (1.1, 0.6)):
            path = np.cumprod([1e-3, *(factors * 400)])
            earlier = jnp.asarray(path[:2, None])
            got = remaining(jnp.asarray(path[2:3]), earlier, 1e-16)
            np.testing.assert_allclose(got, np.sum(path[3:]), rtol=1e-10)


def test_no_error_left_without_a_rate():
    with precision("float64"):
        inf = float("inf")
        rows = {
            "first round": (1e-3, inf, inf, inf),
            "second round": (1e-3, inf, 1e-2, inf),
            "growing": (1e-3, 1e-4, 1e-2, inf),
            "rested before": (1e-3, 0, 0, inf),
            "rounding": (1e-17, 1e-17, 1e-17, 1e-17),
            "at rest": (0, 0, 0, 0),
        }
        moved, second, last, wanted = np.transpose(list(rows.values()))
        got = remaining(jnp.asarray(moved), jnp.asarray([second, last]), 1e-16)
        np.testing.assert_array_equal(got, wanted)


def test_settled_by_the_error_left():
    """Moves of a tenth of the tolerance, at a rate of 0.99 and at one of 0.1."""
    with precision("float64"):
        moved, sizes = jnp.full(R, 1e-5), jnp.ones(R)
        earlier = 1e-5 / jnp.array([[0.99**2, 0.1**2, 0.0], [0.99, 0.1, 0.0]])
        still = settled(moved, sizes, rounding(sizes), jnp.asarray(1e-4), earlier)
        np.testing.assert_array_equal(still, [False, True, False])
