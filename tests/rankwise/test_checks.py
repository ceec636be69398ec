"""Bad input is one clear line that names the argument, before anything compiles.

The cases go through every public function and argument. `name` must be in the text, and besides it
the value that was given or what is allowed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import (
    Budget,
    Components,
    Regression,
    alternating,
    budgets,
    exact,
    explained_energy,
    gradient_descent,
    joint,
    krylov,
    parallel,
    sequential,
    sharded,
    start,
)
from deflation.rounds.run import _advance
from rankwise import checks
from tests.deflation.problems import D, M, R, data, from_data, from_matrix, matrix, one_line

PROBLEM = from_matrix()
DESCENT = gradient_descent(0.1)
DATA = from_data()
X, Y = data(n=8)
NAN, INF = float("nan"), float("inf")


def case(name, call, *words, id=None):
    return pytest.param(name, call, words, id=id)


def altered(array, value):
    array = np.array(array)
    array[1, 2] = value
    return array


def programs() -> int:
    return _advance.programs()


def refused(name, call, words):
    before = programs()
    with pytest.raises(ValueError) as error:
        call()
    text = one_line(error)
    assert name in text, text
    assert "allowed" in text or any(word in text for word in words), text
    for word in words:
        assert word in text, text
    assert programs() == before, "something was compiled before the input was refused"


NOT_MATRICES = {
    "nan": lambda good: altered(good, NAN),
    "infinity": lambda good: altered(good, -INF),
    "device nan": lambda good: jnp.asarray(altered(good, NAN)),
    "complex": lambda good: np.asarray(good) + 0j,
    "text": lambda good: np.full(np.shape(good), "a"),
    "objects": lambda good: np.full(np.shape(good), None),
    "dates": lambda good: np.zeros(np.shape(good), "M8[s]"),
    "durations": lambda good: np.ones(np.shape(good), "m8[s]"),
    "keys": lambda good: jax.random.split(jax.random.key(0), np.shape(good)),
    "a string": lambda good: "data",
    "nothing": lambda good: None,
    "a number": lambda good: 3.0,
    "a vector": lambda good: np.ones(3),
    "three axes": lambda good: np.ones((2, 3, 4)),
    "ragged": lambda good: [[1.0, 2.0], [3.0]],
    "no rows": lambda good: np.zeros((0, np.shape(good)[1])),
    "no columns": lambda good: np.zeros((np.shape(good)[0], 0)),
    "half precision": lambda good: np.asarray(good, np.float16),
    "too large for the type": lambda good: altered(good, 1e300),
}
TAKERS = {
    "from_data x": ("x", lambda v: Regression.from_data(v(X), Y)),
    "from_data y": ("y", lambda v: Regression.from_data(X, v(Y))),
    "from_matrix": ("matrix", lambda v: Regression.from_matrix(v(matrix()))),
    "from_batches x": ("x", lambda v: Regression.from_batches([(X, Y), (v(X), Y)])),
    "from_batches y": ("y", lambda v: Regression.from_batches([(X, Y), (X, v(Y))])),
    "update x": ("x", lambda v: DATA.update(v(X), Y)),
    "update y": ("y", lambda v: DATA.update(X, v(Y))),
    "init b": (
        "init",
        lambda v: parallel(PROBLEM, R, init=Components(v(np.ones((R, M))), np.ones((R, D)))),
    ),
    "init a": (
        "init",
        lambda v: parallel(PROBLEM, R, init=Components(np.ones((R, M)), v(np.ones((R, D))))),
    ),
}


# First factors take the dtype of the problem, so that theirs may be any real one.
MATRICES = [
    pytest.param(*TAKERS[taker], value, id=f"{taker}-{kind}")
    for taker in TAKERS
    for kind, value in NOT_MATRICES.items()
    if not (taker.startswith("init") and kind == "half precision")
]


@pytest.mark.parametrize(("name", "call", "value"), MATRICES)
def test_matrices(name, call, value):
    refused(name, lambda: call(value), ())


SHAPES = [
    case("x", lambda: Regression.from_data(X, Y[:, :-1]), "(5, 8)", "(6, 7)"),
    case("x", lambda: DATA.update(X, Y[:, :-1]), "(5, 8)", "(6, 7)"),
    case("x", lambda: DATA.update(X[:-1], Y), "4", "5"),
    case("y", lambda: DATA.update(X, Y[:-1]), "5", "6"),
    case("x", lambda: PROBLEM.update(Y, X), "allowed"),
    case("x", lambda: Regression.from_batches([(X, Y[:, :-1])]), "(5, 8)", "(6, 7)"),
    case("batch 1", lambda: Regression.from_batches([(X, Y), (X[:-1], Y)]), "4", "5"),
    case("batch 1", lambda: Regression.from_batches([(X, Y), (X, Y[:-1])]), "5", "6"),
    case("batch 0", lambda: Regression.from_batches([(X, Y, X)])),
    case("batch 0", lambda: Regression.from_batches([X])),
    case("batches", lambda: Regression.from_batches([])),
    case("batches", lambda: Regression.from_batches(iter(()))),
    case("batches", lambda: Regression.from_batches(None)),
    case("batches", lambda: Regression.from_batches(3)),
    case("y", lambda: Regression.from_data(X, 0 * Y), "zeros"),
    case("matrix", lambda: Regression.from_matrix(np.zeros((2, 3))), "zeros"),
    case("matrix", lambda: Regression.from_matrix(np.zeros((2, 3), int)), "zeros"),
    case("matrix", lambda: Regression.from_matrix(np.full((2, 3), 1e-300)), "zeros"),
    case("y", lambda: Regression.from_batches([(X, 0 * Y), (X, 0 * Y)]), "zeros"),
    case("init", lambda: parallel(PROBLEM, R, init=Components(np.ones((2, M)), np.ones((2, D))))),
    case("init", lambda: parallel(PROBLEM, R, init=Components(np.ones((R, D)), np.ones((R, M))))),
    case("init", lambda: parallel(PROBLEM, R, init=Components(1.0, 2.0))),
    case("components", lambda: PROBLEM.residual(Components(np.ones((2, M)), np.ones((2, D - 1))))),
    case("components", lambda: PROBLEM.residual(Components(np.ones((2, M)), np.ones((R, D))))),
    case("components", lambda: PROBLEM.residual(Components(np.ones((2, 1)), np.ones((2, 1))))),
    case("components", lambda: PROBLEM.residual(np.ones((M, D)))),
    case(
        "exact",
        lambda: PROBLEM.component_errors(
            Components(np.ones((2, M)), np.ones((2, D))), exact(PROBLEM, 1).components
        ),
    ),
]


@pytest.mark.parametrize(("name", "call", "words"), SHAPES)
def test_shapes(name, call, words):
    refused(name, call, words)


WAYS = {
    "sequential": lambda p=PROBLEM, rank=R, solver=None, **o: sequential(p, rank, solver, **o),
    "parallel": lambda p=PROBLEM, rank=R, solver=None, **o: parallel(p, rank, solver, **o),
    "sharded": lambda p=PROBLEM, rank=R, solver=None, **o: sharded(p, rank, solver, **o),
    "joint": lambda p=PROBLEM, rank=R, solver=DESCENT, **o: joint(p, rank, solver, **o),
    "start": lambda p=PROBLEM, rank=R, solver=None, **o: start(p, rank, solver, **o),
    "start sequential": lambda p=PROBLEM, rank=R, solver=None, **o: start(
        p, rank, solver, method="sequential", **o
    ),
}
NOT_INTEGERS = (0, -1, 1.5, 3.0, NAN, INF, 1j, True, None, "3", [3], np.ones(2), np.ones((3, 3)))
NOT_POSITIVE = (-1, -1e-9, NAN, INF, -INF, 1j, "1", "one", [0.1, 0.2], np.ones((2, 2)))
NOT_KEYS = (0, 1.5, "key", np.zeros(2), jax.random.split(jax.random.key(0), 2), (0, 1))
ARGUMENTS = {
    "problem": (tuple(WAYS), (None, "data", 3, [[1.0, 2.0]], matrix(), (X, Y), exact), "p"),
    "rank": (tuple(WAYS), (*NOT_INTEGERS, min(M, D) + 1), "rank"),
    "solver": (
        tuple(WAYS),
        ("alternating", alternating, krylov, 3, np.ones(2), np.ones((3, 3)), {"sweeps": 1}),
        "solver",
    ),
    "rounds": (("parallel", "sharded", "joint"), NOT_INTEGERS, "rounds"),
    "init": (
        tuple(WAYS),
        ("cold", None, 3, np.ones(3), np.ones((R, D)), np.array(["random"]), matrix, (1, 2)),
        "init",
    ),
    "key": (tuple(WAYS), NOT_KEYS, "key"),
    "tolerance": (tuple(WAYS), NOT_POSITIVE, "tolerance"),
    "tolerance_of": (tuple(WAYS), ("moves", None, 3, True, ["error"]), "tolerance_of"),
    "grow": (
        ("sequential", "parallel", "sharded", "start"),
        ("energy", 0.9, explained_energy, np.ones((2, 2))),
        "grow",
    ),
    "budget": (
        ("sequential", "start sequential"),
        (
            0, -1, 2, 1.5, NAN, 1j, True, "many", [5, 5], [5, 5, 5, 5], [5, 5, 0], [5, 5, 1.5], [],
            [5, 5, NAN], np.ones(3), np.ones((3, 3), int), Budget((5, 5)), {5, 6, 7},
            {"total": 30}, gradient_descent,
        ),
        "budget",
    ),
    "reoptimise": (("sequential", "start sequential"), (-1, 1.5, True, "1", None), "reoptimise"),
    "full_rank": (("sequential", "start sequential"), (-1, 1.5, True, "1", None), "full_rank"),
    "orthogonal": (("sequential", "parallel", "sharded"), ("no", [1]), "orthogonal"),
    "staggered": (("parallel", "sharded", "start"), ("no", [1]), "staggered"),
    "staleness": (("parallel", "sharded", "start"), (-1, 1.5, True, "1", None), "staleness"),
    "advance": (("parallel", "sharded", "start"), ("no", [1]), "advance"),
    "mesh": (("sharded",), ("worker", 4, np.array(jax.devices())), "mesh"),
    "axis_name": (("sharded",), (3, None, ("worker",)), "axis_name"),
    "row_axis": (("sharded",), ("rows", "worker", 3, ["rows"]), "row_axis"),
    "method": (("start",), ("serial", 3, None, ["parallel"]), "method"),
}  # fmt: skip


def arguments():
    """All values where they are checked, two of them through every function on top of that."""
    for name, (ways, values, keyword) in ARGUMENTS.items():
        for way in ways:
            checked = way == ways[-1]
            for number, value in enumerate(values if checked else values[:2]):
                call = {keyword: value}
                label = f"{way}-{name}-{number}"
                yield case(name, lambda w=way, c=call: WAYS[w](**c), id=label)


@pytest.mark.parametrize(("name", "call", "words"), list(arguments()))
def test_arguments(name, call, words):
    refused(name, call, words)


@pytest.mark.parametrize(
    "value",
    [3, np.int64(3), np.int8(3), np.array(3), jnp.asarray(3)],
    ids=["int", "int64", "int8", "array", "device array"],
)
def test_integers_of_any_kind_are_accepted(value):
    assert start(PROBLEM, value).plan.rank == 3
    assert alternating(value).sweeps == 3
    assert budgets.equal(value, 30).steps == (10, 10, 10)


@pytest.mark.parametrize("value", [0, 0.0, 1e-3, np.float32(1e-3), jnp.asarray(1e-3)])
def test_tolerances_of_any_kind_are_accepted(value):
    state = start(PROBLEM, R, tolerance=value)
    np.testing.assert_allclose(state.controls.stop.tolerance, value, rtol=1e-6)


def test_traced_values_are_not_inspected():
    """Under jit the entries are unknown; only shapes and dtypes are checked."""
    run = jax.jit(
        lambda m, t: start(Regression.from_matrix(m), R, tolerance=t).controls.stop.tolerance
    )
    assert float(run(matrix(), 0.5)) == 0.5
    with pytest.raises(ValueError) as error:
        jax.jit(lambda x, y: Regression.from_data(x, y).target)(X, Y[:, :-1])
    assert "same number of columns" in one_line(error)


def test_no_warning_for_input_of_any_layout():
    """Views, Fortran order, read-only memory, lists, other byte order, masked without a mask."""
    plain = Regression.from_matrix(matrix()).target
    frozen = matrix()
    frozen.setflags(write=False)
    for same in (np.asfortranarray(matrix()), frozen, matrix().tolist(), matrix()[::-1][::-1],
                 matrix().astype(">f8"), np.ma.asarray(matrix())):  # fmt: skip
        np.testing.assert_array_equal(Regression.from_matrix(same).target, plain)


def test_what_is_whole_in_a_cpu_s_memory():
    array = jnp.ones((4, 3))
    mesh = jax.make_mesh((2,), ("rows",))
    cut = jax.device_put(array, jax.NamedSharding(mesh, jax.P("rows")))
    copies = jax.device_put(array, jax.NamedSharding(mesh, jax.P()))
    seen = []
    jax.jit(lambda x: seen.append(checks.in_memory(x)) or x)(array)
    got = [checks.in_memory(x) for x in (np.ones(2), array, copies, cut, "text")]
    assert got == [True, True, True, False, False] and seen == [False]


def test_what_hides_entries_is_refused_and_what_hides_none_is_not():
    hidden = np.ma.array(Y, mask=Y > 0)
    with pytest.raises(ValueError, match="matrix is a masked array with hidden entries"):
        Regression.from_matrix(hidden)
    with pytest.raises(ValueError, match="x is a masked array with hidden entries"):
        Regression.from_data(np.ma.array(X, mask=X > 0), Y)
    shown = Regression.from_matrix(np.ma.array(Y, mask=False))
    np.testing.assert_array_equal(shown.target, Regression.from_matrix(Y).target)


def test_a_range_without_a_number_says_so():
    with pytest.raises(ValueError, match="rank is 1; none is allowed, as the most is 0 = min"):
        checks.integer("rank", 1, 1, 0, why=" = min(m, d) - 1")
