"""launch.decompose: what is refused, each mistake in one line."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.launch.commands import command

SHARDED = ["--method=sharded"]


def run(*flags):
    """The exit status of the command."""
    return command("decompose", *flags)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "--data and --matrix"),
        (["--data=digits", "--matrix=x.npy"], "--data and --matrix"),
        (["--data=nothing.npz"], "nothing.npz"),
        (["--data=digit"], "digits"),
        (["--matrix=nothing.npy"], "nothing.npy"),
        (["--matrix=nothing.safetensors:key"], "nothing.safetensors"),
        (["--matrix=weights.bin"], "FILE.npy"),
        (["--data=digits", "--rank=0"], "rank"),
        (["--data=digits", "--rank=33"], "rank is 33"),
        (["--data=digits", "--method=magic"], "method"),
        (["--data=digits", "--rounds=0"], "rounds"),
        (["--data=digits", "--method=sequential", "--budget=5"], "budget is 5"),
        (["--data=digits", "--method=sequential", "--rounds=5"], "--rounds"),
        (["--data=digits", "--method=exact", "--seed=1"], "--seed=1 has no effect without another"),
        (["--data=digits", "--method=exact", "--solver=krylov"], "--solver=krylov has no effect"),
        (["--data=digits", "--method=auto", "--init=random"], "--init=random has no effect"),
        (
            ["--data=digits", "--method=exact", "--tolerance=1e-3"],
            "--tolerance=0.001 has no",
        ),
        (
            ["--data=digits", "--tolerance_of=error", "--init=random"],
            "has no effect without --tolerance",
        ),
        (["--data=digits", "--budget=500"], "--budget"),
        (["--data=digits", "--tolerance=-1"], "tolerance"),
        (["--data=digits", "--mesh=worker:2"], "--mesh is for sharded, not parallel"),
        (
            ["--data=digits", "--mesh=level:2"],
            "mesh has 'level:2'; allowed are worker:N and rows:N",
        ),
        (["--data=digits", *SHARDED, "--mesh=worker:99"], "devices of mesh worker:99,rows:1 is 99"),
        (["--data=digits", *SHARDED, "--mesh=rows:5"], "M has 32 rows; allowed with 5 devices"),
        (["--data=digits", "--distributed=auto"], "--distributed is for sharded, not parallel"),
        (["--data=digits", *SHARDED, "--distributed=here"], "distributed is 'here'; allowed are"),
        (["--data=digits", "--solver=gradient_descent", "--step_size=0"], "step_size"),
        (["--data=digits", "--depth=3"], "--depth is for krylov, not alternating"),
        (["--data=digits", "--solver=krylov", "--depth=0"], "depth"),
        (["--data=digits", "--solver=krylov", "--sweeps=2"], "--sweeps is for alternating and"),
        (["--data=digits", "--step_size=0.1"], "--step_size is for gradient_descent, not alt"),
        (["--data=digits", "--tolerance_of=moves"], "tolerance_of"),
        (["--data=digits", "--rnak=3"], "rank"),
        (["--data=digits", f"--seed={2**64}"], "4294967295"),
        (["--data=digits", "more"], "more"),
    ],
)
def test_mistakes_get_one_line_and_status_2(flags, text, capsys):
    assert run(*flags) == 2
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1 and "Traceback" not in message


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"x": np.eye(3)}, "'y'"),
        ({"x": np.eye(3), "y": np.full((2, 3), np.nan)}, "NaN"),
        ({"x": np.eye(3), "y": np.ones((2, 4))}, "columns"),
        ({"x": np.eye(3), "y": np.array([["a", "b", "c"]])}, "real numbers"),
        ({"x": np.eye(3), "y": np.zeros((2, 3))}, "zeros"),
    ],
)
def test_bad_arrays_are_named(arrays, text, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert run(f"--data={tmp_path}/bad.npz", "--rank=1") == 2
    message = capsys.readouterr().err
    assert text in message and message.count("\n") == 1


def test_files_that_are_not_what_they_claim(tmp_path, capsys):
    for name in ("d.npz", "m.npy", "m.safetensors"):
        (tmp_path / name).write_bytes(b"not an array")
    save_file({"w": np.ones((2, 2), np.float32)}, tmp_path / "w.safetensors")
    for flag in (
        f"--data={tmp_path}/d.npz",
        f"--matrix={tmp_path}/m.npy",
        f"--matrix={tmp_path}/m.safetensors:w",
        f"--matrix={tmp_path}/w.safetensors:v",
    ):
        assert run(flag, "--rank=1") == 2
        assert capsys.readouterr().err.count("\n") == 1
