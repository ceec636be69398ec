"""The decompose suite on a tiny size: rows of the promised form, errors that are true."""

import json

import numpy as np
import pytest

from launch import benchmark, decompose_suite
from launch.decompose_methods import COMPETITORS, OURS
from launch.decompose_picture import entries
from tests.launch.commands import command


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(decompose_suite.SIZES, "quick", ([(24, 20)], [2], 5.0))
    monkeypatch.setattr(decompose_suite, "SPECTRA", ("plateau",))


def test_rows_and_files(tiny, tmp_path, capsys):
    path, figure = tmp_path / "rows.json", tmp_path / "figure"
    flags = ["--suite=decompose", f"--json={path}", f"--figure={figure}", "--repeats=5"]
    assert command("benchmark", *flags) == 0
    rows = json.loads(path.read_text())
    assert len(rows) == len(decompose_suite.QUESTIONS) * len(COMPETITORS)
    for row in rows:
        assert tuple(row) == benchmark.COLUMNS
        assert row["seconds_ours"] > 0
        if row["ratio"] is not None:
            wanted = row["seconds_competitor"] / row["seconds_ours"]
            assert row["ratio"] == pytest.approx(wanted)
    assert figure.with_suffix(".png").exists() and figure.with_suffix(".svg").exists()
    out = capsys.readouterr().out
    assert "threads" in out and "scikit-learn" in out


def test_errors_of_the_exact_answer_and_of_a_wrong_one():
    case = decompose_suite.case("x", decompose_suite.spectral("plateau", 12, 10, 3), 3)
    b, a = case.left * case.sizes[:, None], case.right
    found = decompose_suite.errors(case, b, a)
    assert abs(found[0]) < 1e-12 and found[1] < 1e-7
    swapped = decompose_suite.errors(case, b[[1, 0, 2]], a[[1, 0, 2]])
    assert abs(swapped[0]) < 1e-12 and swapped[1] == pytest.approx(2**0.5, rel=1e-2)
    assert decompose_suite.errors(case, 0 * b, a) == pytest.approx(
        (np.linalg.norm(case.matrix) / case.rest - 1, 1.0)
    )


@pytest.mark.parametrize("spectrum", decompose_suite.SPECTRA)
def test_ours_answers_every_question(spectrum):
    case = decompose_suite.case("x", decompose_suite.spectral(spectrum, 60, 50, 4), 4)
    found = [p.errors for p in decompose_suite.climb(OURS, case, 60.0)]
    assert min(e[0] for e in found) <= 1e-6 and min(e[1] for e in found) <= 1e-3


def test_the_size_that_a_name_says():
    assert entries("noisy 512 x 64, r = 8, residual 1e-3") == 512 * 64
