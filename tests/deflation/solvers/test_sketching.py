"""A sketched start: orthonormal, ordered, exact where the basis holds the answer, never NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial

from deflation import Regression, Sketch, parallel, sequential, sharded, start
from deflation.solvers.sketching import _new_directions, sketch
from tests.deflation.problems import (
    ROUNDING,
    R,
    close,
    errors,
    from_matrix,
    maps,
    one_line,
    orthonormal,
    precision,
    thorough,
    triplets,
)

SPECTRA = {
    "power law": lambda n: 1 / np.arange(1, n + 1),
    "exponential": lambda n: 0.5 ** np.arange(n),
    "equal": lambda n: np.ones(n),
    "two values": lambda n: np.where(np.arange(n) < n // 2, 1.0, 1e-3),
    "low rank": lambda n: np.where(np.arange(n) < 2, 1.0, 0.0),
    "zero": lambda n: np.zeros(n),
}
# Few shapes, so that few programs are compiled; one row, rank up to the smaller side.
SHAPES = ((40, 24, 5), (24, 40, 24), (1, 7, 1))


def target(m, d, spectrum, seed) -> np.ndarray:
    n = min(m, d)
    return (orthonormal(m, n, seed) * SPECTRA[spectrum](n)) @ orthonormal(d, n, seed + 1).T


@pytest.mark.parametrize("dtype", ["float32", thorough("float64")])
@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(SHAPES),
    st.sampled_from(list(SPECTRA)),
    st.sampled_from([1e-12, 1.0, 1e12]),
    st.integers(0, 10**6),
)
# Blocks of which next to nothing was new, and was not orthogonal to the basis in the end.
@example((24, 40, 24), "exponential", 1.0, 20)
@example((24, 40, 24), "two values", 1.0, 26)
def test_ordered_finite_and_never_larger_than_the_target(dtype, shape, spectrum, scale, seed):
    """For every shape, spectrum, unit and precision: unit right factors, orthonormal where the
    component is not zero; sizes that fall and do not exceed the singular values."""
    m, d, rank = shape
    with precision(dtype):
        matrix = (target(m, d, spectrum, seed) * scale).astype(dtype)
        b, a = map(np.asarray, sketch(matrix, rank, jax.random.key(seed), Sketch()))
        assert b.shape == (rank, m) and a.shape == (rank, d) and b.dtype == a.dtype == dtype
        assert np.all(np.isfinite(b)) and np.all(np.isfinite(a))
        close(a @ a.T, np.eye(rank), dtype, 20)
        sizes = np.linalg.norm(np.asarray(b, float), axis=1)
        slack = 20 * ROUNDING[dtype] * scale
        assert np.all(np.diff(sizes) <= slack)
        assert np.all(sizes <= SPECTRA[spectrum](min(m, d))[:rank] * scale + slack)


@pytest.mark.parametrize("dtype", ["float32", thorough("float64")])
@pytest.mark.parametrize("spectrum", ["equal", "low rank", "zero"])
def test_targets_that_a_krylov_space_does_not_fill(spectrum, dtype):
    """M^T M of the identity, or of low rank, adds nothing to the first block; the sketch goes on
    with fresh directions and its sum is still the best one."""
    with precision(dtype):
        matrix = target(60, 50, spectrum, 3).astype(dtype)
        b, a = map(np.asarray, sketch(matrix, 30, jax.random.key(0), Sketch()))
        left = np.linalg.norm(matrix - b.T @ a)
        best = np.linalg.norm(SPECTRA[spectrum](50)[30:])
        assert abs(left - best) < 20 * ROUNDING[dtype] * max(1.0, best)


def test_known_directions_are_replaced():
    with precision("float64"):
        basis = orthonormal(20, 8, 0).T
        new = np.random.default_rng(0).normal(size=20)
        block = np.stack([basis[0], 3 * new, 2 * new, 0 * new])
        rows = np.asarray(jax.jit(_new_directions)(block, basis, jax.random.key(0)))
        close(rows @ rows.T, np.eye(4), "float64")
        close(rows @ basis.T, np.zeros((4, 8)), "float64", scale=1)
        rest = new - basis.T @ (basis @ new)
        close(np.linalg.norm(rows @ rest), np.linalg.norm(rest), "float64")


# How good a sketch is tests/deflation/test_inits.py holds of its default shape.
@pytest.mark.thorough
@pytest.mark.parametrize("spectrum", ["power law", "two values"])
def test_depth_finds_more_than_width(spectrum):
    """The same number of products in narrow blocks: a smaller error."""
    with precision("float64"):
        matrix = target(200, 150, spectrum, 5)
        best = np.linalg.norm(SPECTRA[spectrum](150)[20:])
        excess = []
        for width in (60, 20, 6):
            b, a = map(np.asarray, sketch(matrix, 20, jax.random.key(0), Sketch(60, width)))
            excess.append(np.linalg.norm(matrix - b.T @ a) / best - 1)
        assert excess[1] < excess[0] / 5
        # The narrow one has reached rounding or is better still.
        assert excess[2] < max(excess[1], 1e-12)


def test_a_larger_basis_is_more_accurate_and_the_whole_space_is_exact():
    with precision("float64"):
        matrix = target(60, 40, "power law", 6)
        wanted = triplets(matrix, 8)
        left = []
        for size in (10, 40):
            gap = maps(sketch(matrix, 8, jax.random.key(0), Sketch(size))) - wanted
            gap = np.linalg.norm(gap, axis=(1, 2)) / np.linalg.norm(wanted, axis=(1, 2))
            left.append(np.max(gap))
        assert left == sorted(left, reverse=True) and left[-1] < 1e-11


# An operator's products are a matrix's: tests/deflation/problem/test_targets.py.
@pytest.mark.thorough
def test_operators_are_sketched_by_their_products():
    with precision("float64"):
        dense = jnp.asarray(target(30, 20, "power law", 7))
        operator = Regression.from_operator(
            Partial(jnp.matmul, dense), Partial(lambda t, u: t.T @ u, dense), (30, 20)
        )
        got, wanted = (
            start(p, R, init="sketch").progress.factors
            for p in (operator, Regression.from_matrix(dense))
        )
        close(maps(got), maps(wanted), "float64")


# That starts are published at once tests/deflation/test_inits.py holds of given components.
@pytest.mark.thorough
def test_every_way_begins_with_the_same_sketch():
    """On a mesh as on one device; parallel workers publish it at once, staggered or not."""
    with precision("float64"):
        problem = from_matrix()
        states = [
            start(problem, R, init=Sketch(), method=method)
            for method in ("parallel", "sharded", "sequential")
        ]
        first = states[0].progress.factors
        for state in states[1:]:
            np.testing.assert_array_equal(state.progress.factors.a, first.a)
        assert int(states[0].progress.active) == int(states[1].progress.active) == R
        assert int(states[2].progress.active) == 0
        one = parallel(problem, R, rounds=1, init="sketch")
        other = parallel(problem, R, rounds=1, init="sketch", staggered=False)
        np.testing.assert_array_equal(one.components.b, other.components.b)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("way", "options"), [(sharded, {"rounds": 2}), (sequential, {"budget": R})]
)
def test_every_way_goes_on_from_a_sketch(way, options):
    with precision("float64"):
        problem = from_matrix()
        found = way(problem, R, init=Sketch(), **options).components
        assert np.max(errors(problem, found)) < 1e-11


def test_sketches_are_deterministic_and_follow_the_key():
    problem = Regression.from_matrix(target(40, 30, "power law", 8))
    one, same, other = (
        sketch(problem.target, 4, jax.random.key(k), Sketch(8)).b for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.max(np.abs(one - other)) > 1e-6


def test_sizes():
    assert Sketch().shape(64, 1024) == (144, 16, 9)
    assert Sketch().shape(1, 1024) == (18, 5, 4)
    assert Sketch().shape(3, 5) == (5, 2, 4)
    assert Sketch(100, 10).shape(64, 1024) == (100, 10, 10)
    assert Sketch(100).shape(20, 50)[0] == 50


@pytest.mark.parametrize("options", [{"size": 0}, {"width": 1.5}, {"size": "8"}, {"width": -1}])
def test_wrong_sketches(options):
    with pytest.raises(ValueError) as error:
        Sketch(**options)
    assert next(iter(options)) in one_line(error)


def test_a_sketch_smaller_than_the_rank():
    with pytest.raises(ValueError, match="size is 2; allowed are integers >= 3"):
        parallel(from_matrix(), R, init=Sketch(size=2))
