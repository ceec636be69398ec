"""A matrix of which every process reads its own rows."""

import json
import os
import pathlib
import subprocess
import sys
import tracemalloc

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from launch.decomposing import rows
from rankwise import devices
from tests.launch.commands import command

ROOT = pathlib.Path(__file__).parents[3]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "SLURM_PROCID"}
ENVIRONMENT |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)}
TIMEOUT = 240
MATRIX = np.random.default_rng(0).normal(size=(12, 5))


def stored(folder, matrix=MATRIX) -> str:
    np.save(folder / "matrix.npy", matrix)
    return str(folder / "matrix.npy")


def mesh(parts: int) -> jax.sharding.Mesh:
    return devices.make({"worker": 1, "rows": parts})


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", ">f4", "int8", "bool"])
@pytest.mark.parametrize("part", [slice(0, 12), slice(4, 8)])
def test_rows_are_read_in_pieces(kind, part, tmp_path, monkeypatch):
    matrix = (10 * MATRIX).astype(kind)
    file = np.load(stored(tmp_path, matrix), mmap_mode="r")
    for piece in (1, 150, rows.PIECE):  # bytes: a row at a time, a few, all
        monkeypatch.setattr(rows, "PIECE", piece)
        got = rows.read(file, part, "float32")
        np.testing.assert_array_equal(got, matrix[part].astype("float32"))
        assert got.dtype == "float32" and got.ctypes.data % rows.ALIGNED == 0


def test_memory_is_that_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "PIECE", 10_000)
    file = np.load(stored(tmp_path, np.ones((4000, 50), np.float32)), mmap_mode="r")
    tracemalloc.start()
    got = rows.read(file, slice(1000, 2000), "float32")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < got.nbytes + 5 * rows.PIECE < file.nbytes / 2


def test_every_device_has_its_rows(tmp_path):
    target = rows.problem(stored(tmp_path), "float32", mesh(4)).target
    np.testing.assert_array_equal(target, MATRIX.astype(np.float32))
    assert {shard.data.shape for shard in target.addressable_shards} == {(3, 5)}


@pytest.mark.parametrize(
    ("owners", "answer"),
    [([[0, 0], [1, 1]], False), ([[0, 1], [0, 1]], True), ([[0, 1]], True), ([[0], [1]], False)],
)
def test_rows_apart(owners, answer):
    class Device:
        def __init__(self, process):
            self.process_index = process

    class Mesh:
        axis_names, devices = ("worker", "rows"), np.vectorize(Device)(owners)

    assert rows.apart(Mesh()) is answer
    assert not rows.apart(None)


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (MATRIX[:11], "has 11 rows; allowed with rows:4 in --mesh are multiples of 4"),
        (np.asfortranarray(MATRIX), "is stored by columns; allowed is one that is stored by rows"),
        (MATRIX[0], "has shape (5,); allowed is a matrix"),
        (MATRIX[:, :0], "has shape (12, 0); allowed is a matrix"),
        (MATRIX + 1j, "has dtype complex128; allowed are real numbers"),
        (np.where(MATRIX > 1, np.nan, MATRIX), "contains NaN or infinity"),
        (1e39 * MATRIX, "contains NaN or infinity"),
        (0 * MATRIX, "is all zeros"),
    ],
)
def test_mistakes_are_one_line(matrix, text, tmp_path):
    with pytest.raises(ValueError) as error:
        rows.problem(stored(tmp_path, matrix), "float32", mesh(4))
    assert text in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("path", [None, "m.safetensors:key"])
def test_other_files_are_not_read_by_rows(path):
    with pytest.raises(ValueError, match=r"allowed is --matrix=FILE.npy"):
        rows.problem(path, "float32", mesh(1))


def test_a_file_cut_short(tmp_path):
    path = pathlib.Path(stored(tmp_path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cannot be used"):
        rows.problem(str(path), "float32", mesh(4))


def test_two_processes_give_the_answer_of_one(tmp_path, capsys):
    flags = [f"--matrix={stored(tmp_path)}", "--rank=2", "--tolerance=1e-5"]
    assert command("decompose", *flags, f"--workdir={tmp_path}/one") == 0
    cut = ["--method=sharded", "--mesh=rows:2", "--distributed=local/2"]
    process = subprocess.run(
        [sys.executable, "-m", "launch.decompose", *flags, *cut, f"--workdir={tmp_path}/two"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "no exact answer, as no process has all rows" in process.stdout
    one, two = (tmp_path / name for name in ("one", "two"))
    maps = [load_file(folder / "components.safetensors") for folder in (one, two)]
    product = [factors["b"].T @ factors["a"] for factors in maps]
    np.testing.assert_allclose(product[1], product[0], atol=1e-5)
    result, other = (json.loads((folder / "result.json").read_text()) for folder in (one, two))
    assert other["residual"] == pytest.approx(result["residual"], rel=1e-6)
    assert other["exact_residual"] is None and other["component_errors"] is None
    assert other["status"] == result["status"] == "CONVERGED"
    assert max(other["component_bounds"]) <= 1e-5
    # What a run of rows on other processes was at cannot be saved by one of them.
    assert (one / "run.npz").exists() and not (two / "run.npz").exists()
