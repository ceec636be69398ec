"""The reduction is exact, whatever way the data come in, and n is gone."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import Components, Regression, exact, parallel
from tests.deflation.problems import (
    ROUNDING,
    D,
    M,
    N,
    R,
    close,
    collinear,
    data,
    maps,
    matrix,
    precision,
    thorough,
)

DTYPES = ("float32", "float64")
DESIGNS = {
    "tall": lambda: data(),
    "square": lambda: data(n=D),
    "fewer columns than rows": lambda: data(n=3),
    "one column": lambda: data(n=1),
    "collinear rows": collinear,
    "a zero row": lambda: (data()[0] * np.array([1, 1, 0, 1, 1.0])[:, None], data()[1]),
    "repeated columns": lambda: tuple(np.tile(v, (1, 3)) for v in data(n=4)),
}


def some_components(seed=0, rank=R) -> Components:
    g = np.random.default_rng(seed)
    return Components(g.normal(size=(rank, M)), g.normal(size=(rank, D)))


def same(left: Regression, right: Regression, dtype="float64", factor=10.0) -> None:
    """Equal leaf by leaf, what is unexplained relative to Y."""
    total = float(jnp.hypot(jnp.linalg.norm(right.target), right.unexplained))
    for name, wanted in right._asdict().items():
        got = getattr(left, name)
        if wanted is None:
            assert got is None, name
            continue
        assert got.dtype == wanted.dtype, name
        close(got, wanted, dtype, factor, scale=total if name == "unexplained" else 0)


def in_batches(x, y, sizes):
    start = 0
    for size in sizes:
        yield x[:, start : start + size], y[:, start : start + size]
        start += size
    assert start == x.shape[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("design", DESIGNS)
def test_residual_is_that_of_the_data(design, dtype):
    """||Y - B A X||_F of any model, not of good ones only."""
    x, y = DESIGNS[design]()
    with precision(dtype):
        problem = Regression.from_data(x, y)
        model = some_components()
        wanted = np.linalg.norm(y - np.asarray(maps(model).sum(0)) @ x)
        assert problem.dtype == dtype
        np.testing.assert_allclose(problem.residual(model), wanted, rtol=5 * ROUNDING[dtype])


@pytest.mark.parametrize("design", DESIGNS)
def test_best_answer_is_that_of_the_data(design):
    """exact reaches the best rank-r residual of reduced-rank regression, by numpy from x and y."""
    x, y = DESIGNS[design]()
    fitted = y @ np.linalg.pinv(x) @ x
    u, s, vt = np.linalg.svd(fitted, full_matrices=False)
    best = np.linalg.norm(y - (u[:, :R] * s[:R]) @ vt[:R])
    rounding = 1e-12 * np.linalg.norm(y)  # of a residual that is zero
    with precision("float64"):
        problem = Regression.from_data(x, y)
        solution = exact(problem, R)
        np.testing.assert_allclose(problem.residual(solution.components), best, 1e-11, rounding)
        prediction = solution.components.predict(x)
        np.testing.assert_allclose(np.linalg.norm(y - prediction), best, 1e-11, rounding)


@pytest.mark.parametrize("design", DESIGNS)
def test_degrees_of_freedom_and_rank(design):
    x, y = DESIGNS[design]()
    rank = np.linalg.matrix_rank(x)
    with precision("float64"):
        problem = Regression.from_data(x, y)
        assert int(problem.design_rank()) == rank
        assert int(problem.freedom) == x.shape[1] - rank
        outside = np.linalg.norm(y - y @ np.linalg.pinv(x) @ x) ** 2
        np.testing.assert_allclose(problem.energy, outside, rtol=1e-10, atol=1e-24)


def test_shapes_do_not_depend_on_the_number_of_columns():
    shapes = {
        n: jax.tree.map(jnp.shape, Regression.from_data(*data(n=n))) for n in (1, 3, D, N, 200)
    }
    assert len({str(shape) for shape in shapes.values()}) == 1


@pytest.mark.parametrize("design", DESIGNS)
def test_all_constructors_agree(design):
    """One batch, many, one column each, and columns added later: the same problem."""
    x, y = DESIGNS[design]()
    n = x.shape[1]
    with precision("float64"):
        whole = Regression.from_data(x, y)
        same(Regression.from_batches([(x, y)]), whole)
        same(Regression.from_batches(in_batches(x, y, [1] * n)), whole)
        if n > 1:
            grown = Regression.from_data(x[:, :1], y[:, :1])
            grown = grown.update(x[:, 1 : n // 2 + 1], y[:, 1 : n // 2 + 1])
            if n // 2 + 1 < n:
                grown = grown.update(x[:, n // 2 + 1 :], y[:, n // 2 + 1 :])
            same(grown, whole)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.booleans())
def test_batches_of_any_size(sizes, degenerate):
    x, y = collinear(sum(sizes)) if degenerate else data(n=sum(sizes))
    with precision("float64"):
        same(Regression.from_batches(in_batches(x, y, sizes)), Regression.from_batches([(x, y)]))


def test_identity_inputs_are_matrix_approximation():
    target = matrix()
    with precision("float64"):
        plain = Regression.from_matrix(target)
        close(Regression.from_data(np.eye(D), target).target, plain.target, "float64")
        np.testing.assert_array_equal(plain.target, target)
        assert plain.gram is None and float(plain.energy) == 0.0
        # Columns added to X = I: the same as starting from [I X].
        x, y = data(n=4)
        wide = Regression.from_data(np.hstack([np.eye(D), x]), np.hstack([target, y]))
        same(plain.update(x, y), wide)


@pytest.mark.parametrize("rank", [R, thorough(1)])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_batches_of_single_precision_data(noise, rank):
    """Residuals to 1e-6 of ||Y|| against float64, at a condition where normal equations in
    single precision would have lost every digit (1e3 squared times 6e-8)."""
    x, y = (v.astype(np.float32) for v in data(n=200, noise=noise, condition=1e3))
    wide = x.astype(np.float64), y.astype(np.float64)
    fit = np.linalg.lstsq(wide[0].T, wide[1].T)[0].T @ wide[0]
    size = np.linalg.norm(wide[1])
    problem = Regression.from_batches(in_batches(x, y, [32] * 6 + [8]))
    assert problem.dtype == np.float32
    left = np.linalg.norm(wide[1] - fit)
    assert abs(float(jnp.sqrt(problem.energy)) - left) <= 1e-6 * size
    sizes = np.linalg.svd(fit, compute_uv=False)
    best = np.hypot(left, np.linalg.norm(sizes[rank:]))
    solution = parallel(problem, rank, rounds=200)
    assert abs(float(problem.residual(solution.components)) - best) <= 1e-6 * size


def test_full_residual_of_single_precision_batches():
    """All components of noise-free data. Storing W itself in single precision costs 6e-8 times the
    condition of X, and no more than that is lost, in the answer and in what is said about it."""
    x, y = (v.astype(np.float32) for v in data(n=200, noise=0.0, condition=1e3))
    problem = Regression.from_batches(in_batches(x, y, [50] * 4))
    components = exact(problem, D).components
    left = np.linalg.norm(y - maps(components).sum(0) @ x.astype(np.float64))
    allowed = 6e-8 * 1e3 * np.linalg.norm(y)
    assert left <= allowed
    assert abs(float(problem.residual(components)) - left) <= allowed / 10


def test_batches_are_read_once_in_bounded_memory():
    """A generator cannot be rewound; its 9 MB must not be held."""
    count, width = 2000, 50

    def batches():
        g = np.random.default_rng(0)
        for number in range(count):
            seen.append(number)
            yield g.normal(size=(D, width)), g.normal(size=(M, width))

    seen = []
    tracemalloc.start()
    try:
        problem = Regression.from_batches(batches())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == list(range(count))
    assert int(problem.freedom) == count * width - D
    assert peak < count * width * (D + M) * 8 / 10


def test_batches_of_integers_and_of_other_dtypes():
    x, y = np.arange(10).reshape(2, 5) % 7, np.arange(10).reshape(2, 5) % 3
    for precise, wanted in (("float32", np.float32), ("float64", np.float64)):
        with precision(precise):
            problem = Regression.from_batches([(x, y), (x.astype(bool), y)])
            assert problem.dtype == wanted
            whole = Regression.from_data(np.hstack([x, x > 0]), np.hstack([y, y]))
            same(problem, whole, precise, factor=30)


CONSTRUCTORS = {
    "data": Regression.from_data,
    "batches": lambda x, y: Regression.from_batches([(x, y)]),
    "update": lambda x, y: Regression.from_data(x[:, :7], y[:, :7]).update(x[:, 7:], y[:, 7:]),
}


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
@pytest.mark.parametrize("n", [20, 2000])
@pytest.mark.parametrize("seed", range(3))
def test_collinear_rows_in_single_precision(constructor, n, seed):
    """float32 rounds the dependent row, so that X has a direction of relative size 6e-8: no
    direction of the data. Every constructor must leave it out, or the components blow up."""
    g = np.random.default_rng(seed)
    x, y = g.normal(size=(D, n)), g.normal(size=(M, n))
    x[-1] = x[0] + x[1] - x[2]
    x, y = x.astype(np.float32), y.astype(np.float32)
    wide = x.astype(np.float64)
    sizes = np.linalg.svd(y @ np.linalg.pinv(wide, rcond=1e-5) @ wide, compute_uv=False)
    best = np.sqrt(np.linalg.norm(y.astype(np.float64)) ** 2 - np.sum(sizes[:R] ** 2))
    problem = CONSTRUCTORS[constructor](x, y)
    assert int(problem.design_rank()) == D - 1
    assert int(problem.freedom) == n - (D - 1)
    components = exact(problem, R).components
    found = np.linalg.norm(y - maps(components).sum(0) @ wide)
    np.testing.assert_allclose(found, best, rtol=1e-5)
    np.testing.assert_allclose(problem.residual(components), best, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_coordinates_are_inverse_to_each_other(dtype):
    with precision(dtype):
        problem = Regression.from_data(*data())
        whitened = problem.to_whitened(some_components())
        back = problem.to_whitened(problem.to_original(whitened))
        # Condition 10 of X.
        close(back.a, whitened.a, dtype, 10)
        np.testing.assert_array_equal(back.b, whitened.b)
        close(problem.whitener @ problem.root, np.eye(D), dtype, 10)
        x = data()[0]
        close(problem.gram, x @ x.T, dtype, 10)


def test_coordinates_of_a_degenerate_design():
    """Inverse on the row space of X; what lies outside is dropped."""
    x, y = collinear()
    with precision("float64"):
        problem = Regression.from_data(x, y)
        inside = Components(np.ones((R, M)), np.random.default_rng(1).normal(size=(R, N)) @ x.T)
        back = problem.to_original(problem.to_whitened(inside))
        close(back.a, inside.a, "float64", 100)
        outside = Components(np.ones((1, M)), np.array([[1, 1, -1, 0, -1.0]]))
        close(problem.to_whitened(outside).a + 1, np.ones((1, D)), "float64")


def test_matrix_coordinates_are_their_own():
    problem = Regression.from_matrix(matrix())
    model = some_components()
    assert problem.to_whitened(model) is model and problem.to_original(model) is model
