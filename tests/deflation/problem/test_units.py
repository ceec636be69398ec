"""Data in any units: the same answer but for the factor, also where squares leave the dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.tree_util import Partial

from deflation import (
    Regression,
    advance,
    alternating,
    exact,
    explained_energy,
    finish,
    gradient_descent,
    krylov,
    load,
    noise_floor,
    parallel,
    save,
    sequential,
    sharded,
    start,
)
from deflation.problem.units import host_unit_of, unit_of
from tests.deflation.problems import D, M, R, close, data, maps, matrix, precision, thorough

SCALES = {"float32": (1e-30, 1e-19, 1e19, 1e30), "float64": (1e-150, 1e150)}
WORKERS = jax.make_mesh((2,), ("worker",))
ROWS = jax.make_mesh((2, 2), ("worker", "rows"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
X, Y = data()
WAYS = {
    "parallel": lambda p: parallel(p, R, rounds=40, tolerance=1e-3),
    "consistent": lambda p: parallel(p, R, alternating(consistent=True), rounds=20),
    "krylov": lambda p: parallel(p, R, krylov(3), tolerance=1e-3, tolerance_of="error"),
    "descent": lambda p: parallel(p, R, gradient_descent(steps=5), rounds=40),
    "sequential": lambda p: sequential(p, R, budget=30, reoptimise=2, full_rank=3),
    "orthogonal": lambda p: parallel(p, R, orthogonal=True, rounds=20, staleness=1),
    "sketch": lambda p: parallel(p, R, init="sketch", rounds=3),
    "grown": lambda p: parallel(p, R, grow=explained_energy(0.9), rounds=40),
    "sharded": lambda p: sharded(p, R, mesh=WORKERS, rounds=20),
    "rows": lambda p: sharded(p, R, mesh=ROWS, row_axis="rows", rounds=20),
    "exact": lambda p: exact(p, R),
}


def from_operator(target):
    target = jnp.asarray(target)
    products = Partial(jnp.matmul, target), Partial(jnp.matmul, target.T)
    return Regression.from_operator(*products, (M, D), target.dtype)


def from_batches(x, y):
    return Regression.from_batches([(x[:, :25], y[:, :25]), (x[:, 25:], y[:, 25:])])


PROBLEMS = {
    "matrix": lambda c, t: Regression.from_matrix((matrix() * c).astype(t)),
    "data": lambda c, t: Regression.from_data(X.astype(t), (Y * c).astype(t)),
    "batches": lambda c, t: from_batches(X.astype(t), (Y * c).astype(t)),
    "operator": lambda c, t: from_operator((matrix() * c).astype(t)),
    "sparse": lambda c, t: Regression.from_matrix(scipy.sparse.csr_array((matrix() * c).astype(t))),
}
CASES = [("matrix", way) for way in WAYS]
CASES += [(kind, way) for kind in PROBLEMS if kind != "matrix" for way in ("parallel", "exact")]


def in_units(problem, solution, scale):
    """The maps, sizes, residual and errors of a solution, in units of `scale`."""
    b, a = (np.asarray(rows, np.float64) for rows in solution.components)
    best = exact(problem, R).components
    return {
        "maps": maps((b / scale, a)),
        "sizes": np.asarray(solution.history.size, np.float64) / scale,
        # Of components that have not begun it is infinite in any units.
        "moves": np.nan_to_num(np.asarray(solution.history.change, np.float64), posinf=0) / scale,
        "residual": float(problem.residual(solution.components)) / scale,
        "unexplained": float(problem.unexplained) / scale,
        "errors": problem.component_errors(solution.components, best),
    }


# What another of them or a test below holds too: a solver that has no number in units of the target
# does what it does of the scaled one bit by bit, and rows of it have a test of their size.
TWICE = [(kind, way) for kind in ("operator", "sparse") for way in ("parallel", "exact")]
TWICE += [("data", "parallel"), ("batches", "parallel")]
OWN = ("parallel", "exact")
TWICE += [("matrix", way) for way in WAYS if way not in OWN]
# Every other way and kind in one of the two.
BY_TURNS = [
    (kind, way, dtype)
    if number % 2 == place and (kind, way) not in TWICE
    else thorough(kind, way, dtype)
    for number, (kind, way) in enumerate(CASES)
    for place, dtype in enumerate(SCALES)
]


@pytest.mark.parametrize(("kind", "way", "dtype"), BY_TURNS)
def test_the_same_answer_in_any_units(kind, way, dtype):
    with precision(dtype):
        problem = PROBLEMS[kind](1.0, dtype)
        solution = WAYS[way](problem)
        wanted = in_units(problem, solution, 1.0)
        for scale in SCALES[dtype]:
            problem = PROBLEMS[kind](scale, dtype)
            got = WAYS[way](problem)
            assert got.status == solution.status and int(got.rank) == int(solution.rank)
            for name, value in in_units(problem, got, scale).items():
                close(value, wanted[name], dtype, 10, scale=1.0)


@pytest.mark.parametrize("solver", [alternating(), krylov(), gradient_descent()])
def test_powers_of_four_change_no_bit(solver):
    for power in (-40, 40):
        factor = np.float32(4.0**power)
        plain, other = (
            parallel(Regression.from_matrix(matrix().astype(np.float32) * f), R, solver, rounds=9)
            for f in (np.float32(1), factor)
        )
        np.testing.assert_array_equal(other.components.b, plain.components.b * factor)
        np.testing.assert_array_equal(other.components.a, plain.components.a)
        np.testing.assert_array_equal(other.history.change, plain.history.change * factor)


def test_a_step_size_is_in_the_users_units():
    """In units of 1/s: of M c it is the step of M over c."""
    plain, small = (
        sequential(
            Regression.from_matrix(matrix().astype(np.float32) * np.float32(c)),
            R,
            gradient_descent(0.05 / c),
            budget=30,
        )
        for c in (1.0, 1e-25)
    )
    close(maps(small.components) / 1e-25, maps(plain.components), "float32", 10)


# An estimated one is held below.
@pytest.mark.thorough
def test_a_floor_is_in_the_users_units():
    for scale in (1.0, 1e-25):
        problem = Regression.from_matrix(matrix().astype(np.float32) * np.float32(scale))
        floor = noise_floor(2.5 * scale / (M**0.5 + D**0.5))
        assert int(parallel(problem, D, grow=floor, rounds=60).rank) == 2


def test_estimated_noise_and_update():
    x, y = data(noise=0.3)
    for scale in (1.0, 1e-25):
        y_scaled = (y * scale).astype(np.float32)
        whole = Regression.from_data(x.astype(np.float32), y_scaled)
        half = Regression.from_data(x[:, :20].astype(np.float32), y_scaled[:, :20])
        grown = half.update(x[:, 20:].astype(np.float32), y_scaled[:, 20:])
        close(grown.unexplained / scale, whole.unexplained / scale, "float32", 10)
        assert int(parallel(whole, D, grow=noise_floor(), rounds=40).rank) == R


def test_states_are_saved_in_the_users_units(tmp_path):
    problem = Regression.from_matrix(matrix().astype(np.float32) * np.float32(1e-25))
    state = start(problem, R)
    save(tmp_path / "run.npz", advance(state, 10))
    resumed = advance(load(tmp_path / "run.npz", state), 10)
    whole = finish(advance(state, 20))
    close(maps(finish(resumed).components) / 1e-25, maps(whole.components) / 1e-25, "float32")
    np.testing.assert_allclose(resumed.progress.sizes[0], 5e-25, rtol=1e-3)


# That a unit can be traced the runs in tests/deflation/test_portions.py hold.
@pytest.mark.thorough
def test_traced_and_batched():
    def first(scale):
        problem = Regression.from_matrix(jnp.asarray(matrix(), jnp.float32) * scale)
        return parallel(problem, R, rounds=30).history.size[-1]

    scales = jnp.asarray([1.0, 1e-25, 1e25])
    close(jax.jit(jax.vmap(first))(scales) / scales[:, None], [first(1.0)] * 3, "float32", 10)


# tests/deflation/problem/test_implicit.py holds gradients in the units of its problems.
@pytest.mark.thorough
def test_gradients_do_not_depend_on_the_units():
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(M, D)), jnp.float32)

    def gradient(scale):
        target = jnp.asarray(matrix(), jnp.float32) * scale

        def of_sum(t):
            found = exact(Regression.from_matrix(t), R).components
            return jnp.sum(weights * found.matrix())

        return jax.grad(of_sum)(target)

    close(gradient(1e-25), gradient(1.0), "float32", 100)


@pytest.mark.parametrize(
    ("size", "unit"),
    [(1.0, 1.0), (3.9, 1.0), (4.0, 4.0), (0.9, 0.25), (0.0, 1.0), (5e-25, 4.0**-41)],
)
def test_the_unit_is_a_power_of_four(size, unit):
    assert float(unit_of(jnp.full((2, 3), size, jnp.float32))) == unit


@pytest.mark.parametrize("size", [0.0, 1.0, 3.99, 4.0, 0.25, 0.2, 1e-30, 3e38, 2e-38])
def test_the_host_has_the_unit_of_a_program(size):
    array = np.full((1, 1), size, np.float32)
    unit = host_unit_of(array)
    assert unit == unit_of(jnp.asarray(array)) and unit.dtype == np.float32
