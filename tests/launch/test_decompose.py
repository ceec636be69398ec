"""Decomposing real input: answers, files, resumption, and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from launch.decomposing import inputs
from launch.decomposing.config import METHODS, ROUNDS
from tests.launch.commands import command

SHARDED = ["--method=sharded"]
# Runs that share their programs, with any number of rounds.
PLAIN = ["--rank=3", "--init=random"]
KEYS = [
    *("method", "rank", "residual", "exact_residual", "component_errors"),
    *("component_bounds", "bound_of_sum", "status", "seconds"),
]


def run(*flags):
    """The exit status of the command."""
    return command("decompose", *flags)


def result(path):
    return json.loads(path.read_text())


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def matrix(tmp_path):
    """A 6 x 5 matrix with singular values 5, 4, ..., 1, as .npy."""
    generator = np.random.default_rng(0)
    left = np.linalg.qr(generator.normal(size=(6, 5)))[0]
    right = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    path = tmp_path / "matrix.npy"
    np.save(path, (left * np.arange(5, 0, -1)) @ right)
    return path


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1e30, "float32"), (1e-30, "float32"), (1e200, "float64")]
)
def test_bounds_hold_at_the_ends_of_the_range(matrix, tmp_path, capsys, scale, dtype):
    path = tmp_path / "scaled.npy"
    np.save(path, scale * np.load(matrix))
    flags = f"--matrix={path}", "--rank=2", f"--dtype={dtype}", f"--json={tmp_path}/r.json"
    assert run(*flags) == 0
    record = result(tmp_path / "r.json")
    errors, bounds = np.array(record["component_errors"]), np.array(record["component_bounds"])
    rounding = 8 * np.finfo(dtype).eps  # of the exact answer, which is not exact either
    assert np.all(errors <= bounds + rounding) and np.all(bounds < 1e-3) and np.all(bounds > 0)
    assert 0 < record["bound_of_sum"] < 1e-3
    assert f"{5 * scale:.0e} " in re.sub(r"5\.0+e", "5e", capsys.readouterr().out)


def test_an_excess_of_rounding_is_none(tmp_path, capsys):
    np.save(tmp_path / "column.npy", np.arange(1.0, 7)[:, None])
    assert run(f"--matrix={tmp_path}/column.npy", "--rank=1") == 0
    assert "both rounding" in capsys.readouterr().out


@pytest.mark.thorough  # deflation's tests hold the tolerance and the solver
def test_krylov_to_an_error(matrix, tmp_path):
    """Ratios from 4/5 on: the components are as close as was asked for."""
    flags = f"--matrix={matrix}", "--rank=3", "--solver=krylov", "--depth=3", "--tolerance=1e-4"
    assert run(*flags, "--tolerance_of=error", f"--json={tmp_path}/r.json") == 0
    record = result(tmp_path / "r.json")
    assert record["status"] == "CONVERGED" and max(record["component_errors"]) < 2e-4


def test_parallel_reaches_the_exact_residual_on_digits_in_float32(tmp_path, capsys):
    assert run("--data=digits", f"--json={tmp_path}/r.json", f"--workdir={tmp_path}/w") == 0
    record = result(tmp_path / "r.json")
    assert list(record) == KEYS
    assert abs(record["residual"] / record["exact_residual"] - 1) <= 1e-6
    assert max(record["component_errors"]) < 1e-4
    assert record["status"] == "CONVERGED"
    # The defaults stop when the components are accurate.
    lines = (tmp_path / "w" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["round"] < ROUNDS / 2
    names = set(files(tmp_path / "w"))
    assert {"components.safetensors", "completions.png", "convergence.svg", "result.json"} <= names
    assert not [name for name in names if "part" in name]
    stored = load_file(tmp_path / "w" / "components.safetensors")
    assert stored["b"].shape == (10, 32) and stored["a"].shape == (10, 32)
    assert "relative excess" in capsys.readouterr().out


@pytest.mark.parametrize(
    "method",
    # The sharded one: two processes in test_supervise.py.
    [pytest.param(m, marks=pytest.mark.thorough) if m == "sharded" else m for m in METHODS],
)
def test_every_method_finds_the_matrix(method, matrix, tmp_path):
    flags = [f"--matrix={matrix}", "--rank=2", f"--method={method}", "--dtype=float64"]
    assert run(*flags, f"--json={tmp_path}/r.json") == 0
    record = result(tmp_path / "r.json")
    assert record["residual"] == pytest.approx(np.sqrt(14), rel=1e-9)
    assert record["component_errors"] == pytest.approx([0, 0], abs=1e-6)


def test_a_method_that_was_chosen_is_told(tmp_path, capsys):
    g = np.random.default_rng(0)
    left, right = (np.linalg.qr(g.normal(size=(side, 70)))[0] for side in (90, 70))
    np.save(tmp_path / "m.npy", (left * 0.8 ** np.arange(70)) @ right.T)
    flags = [f"--matrix={tmp_path}/m.npy", "--rank=3", "--method=auto", "--tolerance=1e-4"]
    assert run(*flags, f"--json={tmp_path}/r.json") == 0
    assert "computed by LANCZOS: few components" in capsys.readouterr().out
    record = result(tmp_path / "r.json")
    assert record["status"] == "CONVERGED" and max(record["component_errors"]) < 1e-4


MESHES = ["worker:2,rows:2", pytest.param("rows:3", marks=pytest.mark.thorough)]


@pytest.mark.thorough  # deflation's test_sharded compares meshes
@pytest.mark.parametrize("mesh", MESHES)
def test_any_mesh_gives_the_same_answer(mesh, matrix, tmp_path):
    # From random factors, so that all rounds are run.
    flags = [f"--matrix={matrix}", *PLAIN, "--dtype=float64", "--rounds=20"]
    assert run(*flags, f"--workdir={tmp_path}/one") == 0
    assert run(*flags, *SHARDED, f"--mesh={mesh}", f"--workdir={tmp_path}/cut") == 0
    one, cut = (load_file(tmp_path / name / "components.safetensors") for name in ("one", "cut"))
    for name in one:
        np.testing.assert_allclose(cut[name], one[name], rtol=0, atol=1e-12)


# Of the states themselves tests/deflation/test_saving.py holds it.
@pytest.mark.thorough
@pytest.mark.parametrize("mesh", MESHES)
def test_on_another_mesh_it_goes_on_where_it_stood(mesh, matrix, tmp_path):
    flags = [f"--matrix={matrix}", *PLAIN, *SHARDED, f"--workdir={tmp_path}/cut"]
    assert run(*flags, "--rounds=20", f"--mesh={mesh}") == 0
    assert run(*flags, "--rounds=30", "--mesh=worker:1") == 0
    assert len(json.loads((tmp_path / "cut" / "result.json").read_text())["component_errors"]) == 3
    lines = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines][-1] == 30 and len(lines) > 10


@pytest.mark.thorough  # files are read in the test of the digits
def test_stored_components_multiply_to_the_matrix(matrix, tmp_path):
    # The factors of a transposed product are not contiguous; stored wrongly they would still load.
    assert run(f"--matrix={matrix}", *PLAIN, "--rounds=40", f"--workdir={tmp_path}/w") == 0
    stored = load_file(tmp_path / "w" / "components.safetensors")
    u, s, vt = np.linalg.svd(np.load(matrix))
    assert stored["b"].T @ stored["a"] == pytest.approx((u[:, :3] * s[:3]) @ vt[:3], abs=1e-4)


def test_safetensors_and_npz_input(matrix, tmp_path):
    tensor = np.load(matrix).astype(np.float32)
    save_file({"layer.weight": tensor}, tmp_path / "m.safetensors")
    np.savez(tmp_path / "d.npz", x=np.eye(5, dtype=np.float32), y=tensor)
    for source in (
        f"--matrix={tmp_path}/m.safetensors:layer.weight",
        f"--data={tmp_path}/d.npz",
    ):
        assert run(source, *PLAIN, "--rounds=8", f"--json={tmp_path}/r.json") == 0
        assert result(tmp_path / "r.json")["exact_residual"] == pytest.approx(np.sqrt(5), rel=1e-5)


def test_a_run_in_two_parts_equals_one_run_bitwise(matrix, tmp_path):
    flags = [f"--matrix={matrix}", *PLAIN]
    assert run(*flags, "--rounds=40", f"--workdir={tmp_path}/one") == 0
    assert run(*flags, "--rounds=20", f"--workdir={tmp_path}/two") == 0
    assert run(*flags, "--rounds=40", f"--workdir={tmp_path}/two") == 0
    one, two = (load_file(tmp_path / name / "components.safetensors") for name in ("one", "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    rounds = [json.loads(line)["round"] for line in lines]
    assert rounds == sorted(rounds) and rounds[-1] == 40


def test_a_killed_run_resumes(matrix, tmp_path):
    flags = [f"--matrix={matrix}", *PLAIN, "--rounds=400000"]
    command = [sys.executable, "-m", "launch.decompose", *flags, f"--workdir={tmp_path}/killed"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    saved, deadline = tmp_path / "killed" / "run.npz", time.monotonic() + 120
    while not saved.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert saved.exists(), "nothing was saved before the kill"
    with np.load(saved) as file:
        reached = int(file["round"])
    assert 0 < reached < 400000, "the kill came too late to prove anything"
    assert run(*flags[:3], f"--rounds={reached + 10}", f"--workdir={tmp_path}/killed") == 0
    with np.load(saved) as file:
        assert int(file["round"]) == reached + 10


def test_a_folder_of_another_run_is_left_alone(matrix, tmp_path, capsys):
    folder = tmp_path / "w"
    flags = [f"--matrix={matrix}", "--init=random", "--rounds=8", f"--workdir={folder}"]
    assert run(*flags, "--rank=3") == 0
    before = files(folder)
    capsys.readouterr()
    assert run(*flags, "--rank=2") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert files(folder) == before


def test_a_folder_of_other_defaults_says_how_to_go_on(matrix, tmp_path, capsys):
    folder = tmp_path / "w"
    flags = [f"--matrix={matrix}", "--rank=3", f"--workdir={folder}"]
    assert run(*flags, "--init=random", "--rounds=20") == 0
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tolerance_of": "move"}))
    capsys.readouterr()
    assert run(*flags) == 2
    message = capsys.readouterr().err
    assert "with --tolerance_of=move, not error; with --init=random, not sketch" in message
    assert "repeat its flags" in message and message.count("\n") == 1
    assert run(*flags, "--init=random", "--rounds=21") == 0


def halves(value, dtype):
    return (8 * value).round().astype(dtype)  # small integers, exact in eight bits


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_half_precision_in_every_format(kind, dtype, matrix, tmp_path):
    value = halves(np.load(matrix), dtype)
    path = tmp_path / f"half.{kind}"
    if kind == "npy":
        np.save(path, value)
    elif kind == "npz":
        np.savez(path, x=np.eye(5).astype(dtype), y=value)
    else:
        save_file({"w": value}, path)
    given = inputs.load(
        str(path) if kind == "npz" else None,
        {"npy": str(path), "npz": None, "safetensors": f"{path}:w"}[kind],
        "float32",
    )
    expected = value.astype(np.float32)
    np.testing.assert_allclose(given.problem.target, expected, atol=1e-5)


def test_eight_bit_floats_have_no_name_in_npy(matrix, tmp_path):
    np.save(tmp_path / "m.npy", np.load(matrix).astype(ml_dtypes.float8_e4m3fn))
    with pytest.raises(ValueError, match="of 16 bits or more, or integers: cast it") as error:
        inputs.load(None, f"{tmp_path}/m.npy", "float32")
    assert "\n" not in str(error.value)


def test_a_changed_file_is_not_resumed(matrix, tmp_path, capsys):
    folder = tmp_path / "w"
    flags = [f"--matrix={matrix}", *PLAIN, "--rounds=8", f"--workdir={folder}"]
    assert run(*flags) == 0
    np.save(matrix, 2 * np.load(matrix))
    saved = (folder / "run.npz").read_bytes()
    assert run(*flags) == 2
    assert "problem" in capsys.readouterr().err
    assert (folder / "run.npz").read_bytes() == saved


def test_fewer_rounds_are_refused_and_overwrite_starts_anew(matrix, tmp_path, capsys):
    folder = tmp_path / "w"
    flags = [f"--matrix={matrix}", *PLAIN, f"--workdir={folder}"]
    assert run(*flags, "--rounds=8") == 0
    (folder / "notes.txt").write_text("mine")
    before = files(folder)
    capsys.readouterr()
    assert run(*flags, "--rounds=4") == 2
    err = capsys.readouterr().err
    assert "holds 8 rounds; --rounds=4 are fewer; --overwrite starts anew" in err
    assert err.count("\n") == 1 and files(folder) == before
    assert run(*flags, "--rounds=4", "--seed=1", "--overwrite") == 0
    assert json.loads((folder / "config.json").read_text())["seed"] == 1
    with np.load(folder / "run.npz") as saved:
        assert int(saved["round"]) == 4
    assert (folder / "notes.txt").read_text() == "mine"
