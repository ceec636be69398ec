"""`sharded` is `parallel` on any number of devices, with one all-gather per round."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import (
    Regression,
    Status,
    alternating,
    explained_energy,
    gradient_descent,
    krylov,
    parallel,
    sharded,
    start,
)
from deflation.rounds.run import _advance
from tests.deflation.problems import (
    D,
    M,
    R,
    close,
    from_data,
    from_matrix,
    maps,
    matrix,
    one_line,
    precision,
    thorough,
)

# The bound is the package's promise, for factors of size 1 to 5.
TWIN = {"float32": 1e-6, "float64": 1e-12}


def mesh_of(count: int, *names, sizes=None) -> jax.sharding.Mesh:
    devices = np.array(jax.devices()[:count]).reshape(sizes or (count,))
    return jax.sharding.Mesh(devices, names or ("worker",))


def compare(got, wanted, dtype):
    """Components, history, rounds, status: everything a Solution holds."""
    assert (got.status, int(got.rounds), int(got.rank), int(got.component)) == (
        wanted.status,
        int(wanted.rounds),
        int(wanted.rank),
        int(wanted.component),
    )
    size = np.max(np.abs(wanted.history.size))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert np.shape(one) == np.shape(other)
    for rows, reference in zip(got.components, wanted.components, strict=True):
        scale = max(1.0, float(np.max(np.abs(reference))))
        np.testing.assert_allclose(rows, reference, rtol=0, atol=TWIN[dtype] * scale)
    for rows, reference in zip(got.history, wanted.history, strict=True):
        # While workers have not found their component they amplify rounding.
        np.testing.assert_allclose(rows, reference, rtol=0, atol=20 * TWIN[dtype] * size)


FEW = [(3, "float64")]
COUNTS = [(devices, dtype) for devices in range(1, 9) for dtype in TWIN]


@pytest.mark.parametrize(
    ("devices", "dtype"), [*FEW, *(thorough(*count) for count in COUNTS if count not in FEW)]
)
def test_every_device_count(devices, dtype):
    """Three components on 1 to 8 devices: dividing, not dividing, more devices than components."""
    with precision(dtype):
        problem = from_matrix()
        wanted = parallel(problem, R, rounds=12)
        compare(sharded(problem, R, rounds=12, mesh=mesh_of(devices)), wanted, dtype)


OPTIONS = {
    "at once": {"staggered": False},
    "resting": {"advance": False},
    "at once, resting": {"staggered": False, "advance": False},
    "descent": {"solver": gradient_descent(steps=2)},
    "original": {"solver": gradient_descent(0.01, coordinates="original")},
    "sweeps": {"solver": alternating(2)},
    "krylov": {"solver": krylov(3)},
    "tolerance": {"tolerance": 1e-3, "rounds": 100},
    "error": {"tolerance": 1e-3, "tolerance_of": "error", "rounds": 100},
    "growing": {"grow": explained_energy(0.8), "rounds": 20},
    "orthogonal": {"orthogonal": True},
    "sketch": {"init": "sketch"},
}


# Several at a time, as every run is four programs to compile.
TOGETHER = {
    "descent, at once, tolerance": OPTIONS["descent"] | OPTIONS["at once"] | OPTIONS["tolerance"],
    "krylov, resting, error": OPTIONS["krylov"] | OPTIONS["resting"] | OPTIONS["error"],
    "sweeps, orthogonal, sketch": OPTIONS["sweeps"] | OPTIONS["orthogonal"] | OPTIONS["sketch"],
}
# Those that grow are held by tests/deflation/test_growth.py.
# Stopping is where workers on several devices wait for each other; solvers and starts are those of
# `parallel`.
STOPPING = "descent, at once, tolerance"
CASES = [(STOPPING, "float64"), thorough("growing", "float32")]
CASES += [thorough(name, "float64") for name in TOGETHER if name != STOPPING]
CASES += [thorough(name, "float64") for name in OPTIONS]
CASES += [thorough(name, "float32") for name in ("at once", "descent", "tolerance")]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_every_option(name, dtype):
    """Four components on three devices: two of them hold one, one holds two."""
    options = {"rounds": 8} | (OPTIONS | TOGETHER)[name]
    with precision(dtype):
        problem = from_data()
        wanted = parallel(problem, 4, **options)
        compare(sharded(problem, 4, mesh=mesh_of(3), **options), wanted, dtype)


def test_all_devices_by_default():
    state = start(from_matrix(), R, method="sharded")
    assert dict(state.plan.devices.mesh.shape) == {"worker": jax.device_count()} == {"worker": 8}


# tests/deflation/test_rows.py holds meshes of two axes of any name and type.
@pytest.mark.thorough
@pytest.mark.parametrize("axis_types", [None, "Explicit", "Auto"])
def test_meshes_as_users_make_them(axis_types):
    """A second axis (of other parallelism), another name, any axis type."""
    kind = {} if axis_types is None else {"axis_types": (jax.sharding.AxisType[axis_types],) * 2}
    mesh = jax.make_mesh((2, 4), ("data", "level"), **kind)
    problem = from_matrix()
    got = sharded(problem, R, rounds=12, mesh=mesh, axis_name="level")
    compare(got, parallel(problem, R, rounds=12), "float32")


@pytest.mark.thorough
@pytest.mark.parametrize("rank", [5, 1])
def test_a_mesh_of_two_axes_of_any_rank(rank):
    mesh = mesh_of(6, "worker", "data", sizes=(3, 2))
    problem = from_matrix()
    got = sharded(problem, rank, rounds=12, mesh=mesh)
    compare(got, parallel(problem, rank, rounds=12), "float32")


@pytest.mark.parametrize("mesh", [mesh_of(2, "level"), "worker", 3])
def test_a_mesh_without_the_axis(mesh):
    with pytest.raises(ValueError) as error:
        sharded(from_matrix(), R, mesh=mesh)
    assert "mesh" in one_line(error) and "'worker'" in one_line(error)


def test_the_answer_is_on_every_device():
    components = sharded(from_matrix(), R, rounds=3, mesh=mesh_of(4)).components
    assert components.b.sharding.is_fully_replicated
    assert len(components.b.sharding.device_set) == 4


# Workers ask an operator for products, as they do a matrix.
@pytest.mark.thorough
def test_operators_are_sharded_too():
    from jax.tree_util import Partial

    target = jnp.asarray(matrix())
    problem = Regression.from_operator(
        Partial(jnp.matmul, target), Partial(lambda t, u: t.T @ u, target), (M, D)
    )
    got = sharded(problem, R, rounds=12, mesh=mesh_of(2))
    close(maps(got.components), maps(parallel(problem, R, rounds=12).components), "float32")


def test_sharded_inside_jit():
    """Beside a run of test_every_device_count, whose programs it shares."""
    mesh = mesh_of(3)

    @jax.jit
    def run(target):
        return sharded(Regression.from_matrix(target), R, rounds=12, mesh=mesh)

    with precision("float64"):
        got = run(matrix())
        wanted = sharded(from_matrix(), R, rounds=12, mesh=mesh)
        close(maps(got.components), maps(wanted.components), "float64")
        assert int(got.status) == int(Status(wanted.status))


COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-reduce|reduce-scatter|collective-permute|all-to-all"
    r"|collective-broadcast|send|recv)(?:-start)?\("
)


def compiled_text(rank: int, devices: int, **options) -> str:
    state = start(from_data(), rank, method="sharded", mesh=mesh_of(devices), **options)
    inputs = (state.problem, state.solver, state.controls, state.progress)
    return _advance.lower(*inputs, 5, state.plan, 5).compile().as_text()


def computations(text: str) -> dict[str, str]:
    """The bodies of an HLO module's computations by name."""
    parts = re.split(r"\n(?=(?:ENTRY )?%?[\w.\-]+ \(.*\) -> .*\{\n)", text)
    names = (re.match(r"(?:ENTRY )?%?([\w.\-]+) \(", part) for part in parts)
    return {name[1]: part for name, part in zip(names, parts, strict=True) if name}


@pytest.mark.parametrize(
    ("rank", "devices", "options"),
    [
        thorough(R, 2, {}),
        thorough(R, 4, {"solver": gradient_descent(steps=2), "tolerance": 1e-3}),
        (5, 3, {"staggered": False, "grow": explained_energy(0.9), "orthogonal": True}),
    ],
)
def test_one_all_gather_per_round(rank, devices, options):
    """Read from the compiled program: one collective in all of it, inside the body of the loop over
    rounds (and of no inner loop), of P ceil(r/P) (m + d + 2) numbers."""
    text = compiled_text(rank, devices, **options)
    bodies = computations(text)
    found = {name: COLLECTIVE.findall(part) for name, part in bodies.items()}
    found = {name: hits for name, hits in found.items() if hits}
    assert sum(map(len, found.values())) == 1 == len(COLLECTIVE.findall(text)), found
    ((name, ((shape, operation),)),) = found.items()
    assert operation == "all-gather"
    dimensions = [int(size) for size in re.match(r"f32\[([\d,]+)\]", shape)[1].split(",")]
    assert np.prod(dimensions) == devices * -(-rank // devices) * (M + D + 2)
    # The computation it is in is the body of a while that the entry computation runs.
    entry = next(part for part in bodies.values() if part.startswith("ENTRY"))
    assert re.search(rf"while\(.*body=%?{re.escape(name)}\b", entry)
