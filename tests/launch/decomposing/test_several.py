"""Every matrix of a safetensors file that fits a pattern, in one run."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.launch.commands import command

MATRIX = np.random.default_rng(0).normal(size=(6, 5))
DTYPES = ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")


@pytest.fixture
def model(tmp_path):
    value = MATRIX
    tensors = {f"layer.{k}.weight": value.astype(t) for k, t in enumerate(DTYPES)}
    tensors |= {"layer.0.norm.weight": np.ones(5), "head.weight": value}
    save_file(tensors, tmp_path / "m.safetensors")
    return f"{tmp_path}/m.safetensors", tensors


def test_one_run_reads_them_all(model, tmp_path, capsys):
    path, tensors = model
    out = tmp_path / "out"
    flags = [f"--matrix={path}:layer.*.weight", "--rank=2", "--method=exact"]
    assert command("decompose", *flags, f"--json={out}.json", f"--workdir={out}") == 0
    records = json.loads((tmp_path / "out.json").read_text())
    names = [f"layer.{k}.weight" for k in range(4)]
    assert sorted(records) == names == sorted(p.name for p in out.iterdir())
    for name in names:
        sizes = np.linalg.svd(tensors[name].astype(float), compute_uv=False)
        assert records[name]["residual"] == pytest.approx(np.linalg.norm(sizes[2:]), 1e-4)
        assert (out / name / "components.safetensors").exists()
    assert all(f"\n{name}\n" in capsys.readouterr().out for name in names[:1])


@pytest.mark.parametrize(
    ("pattern", "rank", "message"),
    [
        ("decoder.*", 2, "fits no matrix of 5; allowed is a pattern of names such as"),
        ("layer.*", 6, "--rank=6 is above the rank of layer.0.weight, of shape (6, 5)"),
    ],
)
def test_what_does_not_fit_is_one_line(model, pattern, rank, message, capsys):
    assert command("decompose", f"--matrix={model[0]}:{pattern}", f"--rank={rank}") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
