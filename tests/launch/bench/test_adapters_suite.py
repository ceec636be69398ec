"""The adapters suite on tiny sizes: rows of the promised form, and errors that are errors."""

import json

import pytest

from launch.bench import adapters_suite
from launch.bench import rows as benchmark_rows
from tests.finetune.peft import torch_side
from tests.launch.commands import command

pytestmark = torch_side.QUIET
SIZES = adapters_suite.Sizes(((40, 36), (36, 48)), (3, 40, 16), (120, 4))


def test_rows(monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch", reason="the suite compares with torch")
    pytest.importorskip("peft", reason="the suite compares with PEFT")
    monkeypatch.setitem(adapters_suite.SIZES, "quick", SIZES)
    path = tmp_path / "rows.json"
    assert command("benchmark", "--suite=adapters", "--repeats=5", f"--json={path}") == 0
    rows = json.loads(path.read_text())
    competitors = [row["competitor"] for row in rows]
    assert competitors == ["PEFT svd", "numpy QR", *3 * ["torch.svd_lowrank", "torch.linalg.svd"]]
    for row in rows:
        assert tuple(row) == benchmark_rows.COLUMNS
        assert row["ratio"] == pytest.approx(row["seconds_competitor"] / row["seconds_ours"])
        assert -1e-6 < row["error_ours"] < (1e-5 if row["ours"] == "factors" else 0.05)
        if row["competitor"] != "torch.svd_lowrank":
            assert abs(row["error_competitor"]) < 1e-5
        else:
            assert 1e-4 < row["error_competitor"] < 0.2
    assert "peft" in capsys.readouterr().out


def test_the_errors_are_those_of_the_result(monkeypatch):
    """Of a rank that is too small by one they are above the least."""
    from finetune.algebra.spectra import Spectrum

    prefix = Spectrum.prefix
    monkeypatch.setattr(Spectrum, "prefix", lambda self, rank: prefix(self, rank - 1))
    row = adapters_suite.resize(2, 20, 16, 5)
    assert row["error_ours"] > 0.01 and abs(row["error_competitor"]) < 1e-6
