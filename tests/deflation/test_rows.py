"""`sharded` with the rows of M cut along a second axis is `parallel`, and no device holds M."""

import math
import re

import jax
import numpy as np
import pytest

from deflation import (
    Regression,
    advance,
    alternating,
    explained_energy,
    gradient_descent,
    krylov,
    load,
    parallel,
    save,
    saving,
    sharded,
    start,
)
from deflation.problem.units import scaled
from deflation.rounds.outcome import published
from deflation.rounds.ritz import BLOCK, DEPTH, program
from deflation.rounds.run import _advance
from tests.deflation.problems import (
    D,
    M,
    R,
    close,
    from_data,
    from_matrix,
    maps,
    one_line,
    precision,
)
from tests.deflation.test_sharded import COLLECTIVE, compare, mesh_of

BOTH = {"axis_name": "worker", "row_axis": "rows"}


def grid(workers: int = 2, rows: int = 2) -> jax.sharding.Mesh:
    return mesh_of(workers * rows, "worker", "rows", sizes=(workers, rows))


OPTIONS = {
    "plain": {},
    "descent": {"solver": gradient_descent(steps=2)},
    "original": {"solver": gradient_descent(0.01, coordinates="original")},
    "consistent": {"solver": alternating(consistent=True)},
    "krylov": {"solver": krylov(3)},
    "stale": {"staleness": 1},
    "growing": {"grow": explained_energy(0.8), "rounds": 20},
}
TOGETHER = {
    "descent, stale": OPTIONS["descent"] | OPTIONS["stale"],
    "original, growing": OPTIONS["original"] | OPTIONS["growing"],
}
CASES = [("plain", "float32"), *((name, "float64") for name in OPTIONS | TOGETHER)]


# A solver asks the rows only for products, which tests/deflation/problem/test_targets.py holds; a
# plain run is that of test_axes_in_any_order_of_any_kind.
@pytest.mark.thorough
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_every_option(name, dtype):
    """Three components of data, with their whitening, on two workers of two devices each."""
    options = {"rounds": 12} | (OPTIONS | TOGETHER)[name]
    with precision(dtype):
        problem = from_data()
        wanted = parallel(problem, R, **options)
        compare(sharded(problem, R, mesh=grid(), **BOTH, **options), wanted, dtype)


# Another grid is that of test_axes_in_any_order_of_any_kind.
@pytest.mark.thorough
@pytest.mark.parametrize("shape", [(2, 3), (1, 2), (1, 6)])
def test_every_grid(shape):
    wanted = parallel(from_matrix(), R, rounds=12)
    compare(sharded(from_matrix(), R, rounds=12, mesh=grid(*shape), **BOTH), wanted, "float32")


# The collectives of that branch test_one_all_gather_over_workers_per_round counts.
@pytest.mark.thorough
def test_workers_that_are_lost_start_afresh_alike():
    """M of rank 2 and three workers: the exchange sits in a branch that not all workers take."""
    problem = from_matrix(sizes=(3.0, 1.0))
    got = sharded(problem, R, rounds=30, mesh=grid(3, 2), **BOTH)
    wanted = parallel(problem, R, rounds=30)
    close(maps(got.components), maps(wanted.components), "float32")  # the third is rounding


@pytest.mark.parametrize("kind", [pytest.param("Auto", marks=pytest.mark.thorough), "Explicit"])
def test_axes_in_any_order_of_any_kind(kind):
    types = {"axis_types": (jax.sharding.AxisType[kind],) * 2}
    mesh = jax.make_mesh((3, 2), ("part", "level"), **types)
    got = sharded(from_matrix(), R, rounds=12, mesh=mesh, axis_name="level", row_axis="part")
    compare(got, parallel(from_matrix(), R, rounds=12), "float32")


def test_each_device_holds_its_rows():
    state = advance(start(from_matrix(), R, method="sharded", mesh=grid(), **BOTH), 2)
    target = state.problem.target
    pieces = target.addressable_shards
    assert len(pieces) == 4
    for piece in pieces:
        assert piece.data.nbytes == M // 2 * D * target.itemsize
    assert {piece.index[0].start or 0 for piece in pieces} == {0, M // 2}
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state.progress))


# test_each_device_holds_its_rows holds where the rows are.
@pytest.mark.thorough
def test_a_matrix_that_is_cut_already_stays_so():
    cut = jax.sharding.NamedSharding(grid(), jax.sharding.PartitionSpec("rows"))
    target = jax.device_put(np.asarray(from_matrix().target), cut)
    problem = Regression.from_matrix(target)
    assert problem.target.sharding == cut
    got = sharded(problem, R, rounds=12, mesh=grid(), **BOTH)
    compare(got, parallel(from_matrix(), R, rounds=12), "float32")


def collectives(text: str) -> list[tuple[str, int, tuple]]:
    """Operation, numbers and groups of every collective of a compiled program."""
    found = []
    for line in filter(COLLECTIVE.search, text.splitlines()):
        shape, operation = COLLECTIVE.search(line).groups()
        shapes = re.findall(r"\w\[([\d,]*)\]", shape)  # of a tuple: several arrays in one
        numbers = sum(math.prod(map(int, filter(None, one.split(",")))) for one in shapes)
        groups = re.search(r"replica_groups=(\S+?)(?:, |$)", line)[1]
        found.append((operation, numbers, groups))
    return found


def test_one_all_gather_over_workers_per_round():
    """Read from the compiled program of 2 x 2 devices, of two components each: along the workers
    one all-gather, in all of it; along the rows K m numbers of M a and K d of M^T b."""
    workers = {"{{0,2},{1,3}}", "[2,2]<=[2,2]T(1,0)"}
    state = start(from_data(), 4, method="sharded", mesh=grid(), **BOTH)
    inputs = (state.problem, state.solver, state.controls, state.progress)
    found = collectives(_advance.lower(*inputs, 5, state.plan, 5).compile().as_text())
    over_workers = [hit[:2] for hit in found if hit[2] in workers]
    over_rows = [hit for hit in found if hit[2] not in workers]
    assert over_workers == [("all-gather", 4 * (M + D + 2))]
    assert {hit[2] for hit in over_rows} <= {"{{0,1},{2,3}}", "[2,2]<=[4]"}
    # M a, then M^T b and M a of the sweep; and M^T b and M a of the branch for lost directions.
    assert sorted(hit[:2] for hit in over_rows) == sorted(
        3 * [("all-gather", 2 * M)] + 2 * [("all-reduce", 2 * D)]
    )


def test_the_end_does_not_gather_the_matrix():
    generator = np.random.default_rng(0)
    m, d, r = 128, 96, 2
    problem = Regression.from_matrix(generator.normal(size=(m, d)).astype(np.float32))
    state = start(problem, 2, method="sharded", mesh=grid(), **BOTH)
    inputs = (state.problem, state.solver, state.controls, state.progress)
    factors, rank, _ = published(*inputs)
    target = scaled(state.problem, state.controls.unit).target
    found = collectives(program.lower(target, factors, rank).compile().as_text())
    searched = r + BLOCK * DEPTH
    assert found and max(numbers for _, numbers, _ in found) <= searched * max(m, d) < m * d / 2


# On other workers tests/deflation/test_saving.py holds it.
@pytest.mark.thorough
def test_a_run_goes_on_without_cut_rows(tmp_path):
    def begin(**how):
        return start(from_data(), R, method="sharded", **how)

    before = advance(begin(mesh=grid(), **BOTH), 5)
    save(tmp_path / "run.npz", before)
    after = advance(load(tmp_path / "run.npz", begin(mesh=mesh_of(1))), 7)
    wanted = advance(begin(mesh=mesh_of(1)), 12)
    for got, reference in zip(after.history, wanted.history, strict=True):
        np.testing.assert_allclose(got, reference, rtol=0, atol=1e-4)
    assert int(after.progress.round) == 12


def operator():
    scale = jax.tree_util.Partial(jax.numpy.multiply, jax.numpy.arange(1.0, 7.0))
    return Regression.from_operator(scale, scale, (6, 6))


@pytest.mark.parametrize(
    ("problem", "options", "text"),
    [
        (from_matrix, {"row_axis": "columns"}, "row_axis is 'columns'; allowed are ['rows']"),
        (from_matrix, {"row_axis": "worker"}, "row_axis is 'worker'; allowed are ['rows']"),
        (from_matrix, {"row_axis": 2}, "row_axis is 2"),
        (from_matrix, {"mesh": grid(1, 4)}, "M has 6 rows; allowed with 4 devices along 'rows'"),
        (from_matrix, {"mesh": None}, "row_axis is 'rows'; allowed are []"),
        (operator, {}, "row_axis is 'rows'; allowed with an operator is None"),
    ],
)
def test_mistakes_are_one_line(problem, options, text):
    with pytest.raises(ValueError) as error:
        sharded(problem(), R, **({"mesh": grid(), "row_axis": "rows"} | options))
    assert text in one_line(error)


def test_rows_are_for_devices():
    with pytest.raises(ValueError) as error:
        start(from_matrix(), R, method="parallel", row_axis="rows")
    assert "row_axis is 'rows'; allowed with method 'parallel' is None" in one_line(error)


def test_rows_of_other_processes_cannot_be_saved(monkeypatch, tmp_path):
    """A run over several processes: tests/launch/decomposing/test_rows.py."""
    state = start(from_matrix(), R, method="sharded", mesh=grid(), row_axis="rows")
    save(tmp_path / "run.npz", state)
    monkeypatch.setattr(saving, "whole", lambda leaf: leaf is not state.problem.target)
    for use in (save, load):
        with pytest.raises(ValueError) as error:
            use(tmp_path / "run.npz", state)
        assert "rows are cut over several processes; allowed" in one_line(error)
