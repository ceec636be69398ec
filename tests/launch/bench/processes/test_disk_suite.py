"""A matrix in a file by processes that read its rows, beside dask: both arrive."""

import importlib.util

import numpy as np
import pytest

from launch.bench import goals
from launch.bench.processes import disk_suite, disk_worker

SIZE = disk_suite.Size(60, 20, 2, 1)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "matrix.npy"
    return path, disk_suite.write(path, SIZE.m, SIZE.d)


def test_the_matrix_has_the_spectrum_that_is_known(matrix, monkeypatch, tmp_path):
    path, sizes = matrix
    stored = np.load(path)
    assert stored.dtype == np.float32 and stored.shape == (60, 20)
    np.testing.assert_allclose(np.linalg.svd(stored, compute_uv=False), sizes, atol=1e-6)
    monkeypatch.setattr(disk_suite, "PIECE", 7)
    disk_suite.write(tmp_path / "pieces.npy", SIZE.m, SIZE.d)
    np.testing.assert_array_equal(np.load(tmp_path / "pieces.npy"), stored)


def test_residuals_are_those_of_the_file(matrix, monkeypatch):
    monkeypatch.setattr(disk_suite, "PIECE", 7)
    g, stored = np.random.default_rng(0), np.load(matrix[0])
    b, a = (g.normal(size=(2, n)).astype(np.float32) for n in stored.shape)
    expected = np.linalg.norm(stored - b.T @ a)
    assert disk_suite.residual(matrix[0], b, a) == pytest.approx(expected, rel=1e-6)


def in_this_process(payload, processes):
    assert processes == (2 if payload["way"] == "ours" else 1)
    return [disk_worker.main(payload | {"processes": 1, "number": 0})]


def test_rows_of_every_method(monkeypatch):
    ladders = {"ours": ((2, 1), (12, 3)), "dask, threads": (0, 4)}
    monkeypatch.setattr(disk_suite, "LADDERS", ladders)
    monkeypatch.setattr(disk_suite, "_measured", in_this_process)
    rows, note = disk_suite.run(SIZE)
    assert "jax" in note
    if importlib.util.find_spec("dask") is None:
        assert not rows
        return
    first, later = rows
    for row in rows:
        assert max(row["error_ours"], row["error_competitor"]) <= disk_suite.TARGET
        assert row["ratio"] == row["seconds_competitor"] / row["seconds_ours"] > 0
        assert row["bytes_matrix"] == 4 * 60 * 20 < row["bytes_ours"]
    assert first["case"] == "60 x 20 from disk, r = 2, residual 1e-03, first call"
    assert first["seconds_ours"] > later["seconds_ours"]  # it compiles
    assert 0 < first["bound_seconds"] < first["seconds_ours"] and "bound" not in later
    found = [goal for goal in goals.GOALS if goal.suite == "disk"]
    assert [len(goal.rows(rows)) for goal in found] == [1] * len(found) != []


def test_one_that_does_not_arrive_has_no_time():
    outcome = disk_suite.Outcome(1.0, 0.5, 0.4, 100, 2 * disk_suite.TARGET, 3, 0.2)
    arrived = outcome._replace(error=0.0)
    row = disk_suite._row("case", "dask", arrived, outcome, 8, 0)
    assert (row["seconds_ours"], row["seconds_competitor"], row["ratio"]) == (1.0, None, None)
    assert (row["bound"], row["bound_seconds"]) == ("XLA compiling", 0.2)


def test_a_process_that_fails_is_named():
    with pytest.raises(RuntimeError, match="a process of magic failed: KeyError: 'magic'"):
        disk_suite._measured({"way": "magic"}, 1)
