"""The decompose suite on a tiny size: rows of the promised form, errors that are true."""

import json
import sys
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

from launch.bench import decompose_inputs, decompose_methods, decompose_rates, decompose_suite
from launch.bench import rows as benchmark_rows
from launch.bench.decompose_methods import COMPETITORS, OURS, PACKAGES
from launch.bench.decompose_picture import costs
from launch.bench.decompose_suite import Point
from tests.launch.commands import command


def draw(m, d):
    return np.random.default_rng(0).normal(size=(m, d)).astype(np.float32)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(decompose_suite.SIZES, "quick", ([(24, 20, 2)], 5.0))
    monkeypatch.setattr(decompose_suite, "SPECTRA", ("plateau",))
    ways = {name: way for name, way in COMPETITORS.items() if name not in PACKAGES}
    first = {name: way._replace(settings=way.settings[:1]) for name, way in ways.items()}
    monkeypatch.setattr(decompose_suite, "COMPETITORS", first)
    monkeypatch.setattr(decompose_suite, "real", lambda *_: [("drawn", draw(16, 12))])
    monkeypatch.setitem(decompose_rates.SHAPES, "quick", [(24, 20, 2)])
    monkeypatch.setitem(decompose_rates.STREAMS, "quick", (1000, 2000))


@pytest.mark.thorough  # chosen cases below, and errors of answers
def test_rows_and_files(tiny, tmp_path, capsys):
    path, figure = tmp_path / "rows.json", tmp_path / "figure"
    flags = ["--suite=decompose", f"--json={path}", f"--figure={figure}", "--repeats=5"]
    assert command("benchmark", *flags) == 0
    rows = json.loads(path.read_text())
    # A made and a drawn matrix, which is too small for LOBPCG; a round and a stream.
    assert (
        len(rows) == len(decompose_suite.QUESTIONS) * (2 * len(decompose_suite.COMPETITORS) - 1) + 2
    )
    for row in rows:
        assert tuple(row)[: len(benchmark_rows.COLUMNS)] == benchmark_rows.COLUMNS
        assert row["seconds_ours"] > 0
        if row["ratio"] is not None:
            expected = row["seconds_competitor"] / row["seconds_ours"]
            assert row["ratio"] == pytest.approx(expected)
    assert any(row["ratio"] is not None for row in rows)
    assert figure.with_suffix(".png").exists() and figure.with_suffix(".svg").exists()
    out = capsys.readouterr().out
    assert "threads" in out and "scikit-learn" in out


def test_chosen_cases_are_all_that_is_measured(tiny, tmp_path, capsys):
    path = tmp_path / "rows.json"
    flags = ["--suite=decompose", f"--json={path}", "--repeats=5"]
    assert command("benchmark", *flags, "--cases=a round of 24 x") == 0
    assert [row["case"] for row in json.loads(path.read_text())] == ["a round of 24 x 20, r = 2"]
    capsys.readouterr()
    for given, allowed in (
        (["--cases=nothing"], "a name such as 'plateau 24 x 20, r = 2'"),
        (["--cases=("], "a regular expression"),
        (["--cases=drawn", "--figure=x"], "matrices of the spectra plateau"),
    ):
        assert command("benchmark", *flags, *given) == 2
        err = capsys.readouterr().err
        assert allowed in err and err.count("\n") == 1


def test_a_stopped_run_keeps_its_cases(tiny, tmp_path, monkeypatch):
    path, run = tmp_path / "rows.json", decompose_suite.run

    def stopped(*given):
        yield next(run(*given))
        raise KeyboardInterrupt

    monkeypatch.setattr(decompose_suite, "run", stopped)
    flags = [f"--json={path}", "--repeats=5", "--cases=drawn"]
    assert command("benchmark", "--suite=decompose", *flags) == 130
    assert len(json.loads(path.read_text())) == len(decompose_suite.QUESTIONS) * (
        len(decompose_suite.COMPETITORS) - 1
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_competitors_of_other_packages(name):
    pytest.importorskip(PACKAGES[name])
    made = decompose_suite._made("made", "plateau", 24, 20, 2)
    method = COMPETITORS[name]
    assert decompose_suite.usable(name, made)
    call = method.prepare(made.matrix, made.rank, method.settings[-1])
    assert max(decompose_suite.errors(made, *call())) < 1e-3


def test_components_that_primme_leaves_out_are_zero(monkeypatch):
    def svds(matrix, rank, tol):
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        return u[:, : rank - 1], s[: rank - 1], vt[: rank - 1]

    monkeypatch.setitem(sys.modules, "primme", types.SimpleNamespace(svds=svds))
    case = decompose_suite.case("drawn", draw(9, 7), 2)
    b, a = COMPETITORS["PRIMME"].prepare(case.matrix, 2, 1e-6)()
    assert b.shape == (2, 9) and a.shape == (2, 7) and not b[1].any() and not a[1].any()
    residual, worst = decompose_suite.errors(case, b, a)
    assert residual > 1e-3 and worst == pytest.approx(1)


def test_a_competitor_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(decompose_methods, "PACKAGES", {"joint": "no_such_package"})
    monkeypatch.setattr(decompose_suite, "PACKAGES", {"joint": "no_such_package"})
    made = decompose_suite._made("made", "plateau", 24, 20, 2)
    assert not decompose_suite.usable("joint", made)
    assert "no joint, as no_such_package is not installed" in decompose_suite.versions()


def test_a_package_that_cannot_be_imported_is_missing(monkeypatch, tmp_path):
    (tmp_path / "unlinked.py").write_text("raise ImportError('undefined symbol: dgemm_')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(decompose_methods, "PACKAGES", {"joint": "unlinked", "ARPACK": "scipy"})
    assert decompose_methods.missing() == {"joint": "unlinked"}


def test_a_setting_that_answers_twice_is_timed_once():
    case = decompose_suite.case("x", decompose_suite.spectral("plateau", 12, 10, 3), 3)
    calls = {name: [] for name in ("decompose, sum", "decompose, components", "other", "rough")}

    def point(name, errors):
        return Point(lambda: calls[name].append(1), errors, 1.0)

    climbed = {name: [point(name, (0, 0))] for name in calls if name != "rough"}
    climbed["rough"] = [point("rough", (1, 1))]
    result = decompose_suite.rows(case, climbed, 5)
    assert {name: len(times) for name, times in calls.items()} == {
        "decompose, sum": 5,
        "decompose, components": 5,
        "other": 5,
        "rough": 0,
    }
    assert len({row["seconds_competitor"] for row in result if row["competitor"] == "other"}) == 1
    assert {row["ratio"] for row in result if row["competitor"] == "rough"} == {None}


def test_errors_of_the_exact_answer_and_of_a_wrong_one():
    case = decompose_suite.case("x", decompose_suite.spectral("plateau", 12, 10, 3), 3)
    b, a = case.left * case.sizes[:, None], case.right
    result = decompose_suite.errors(case, b, a)
    assert abs(result[0]) < 1e-12 and result[1] < 1e-7
    swapped = decompose_suite.errors(case, b[[1, 0, 2]], a[[1, 0, 2]])
    assert abs(swapped[0]) < 1e-12 and swapped[1] == pytest.approx(2**0.5, rel=1e-2)
    assert decompose_suite.errors(case, 0 * b, a) == pytest.approx(
        (np.linalg.norm(case.matrix) / case.rest - 1, 1.0)
    )


@pytest.mark.parametrize("rank", [4, 17])
@pytest.mark.parametrize("spectrum", decompose_suite.SPECTRA)
def test_ours_answers_every_question(spectrum, rank):
    case = decompose_suite.case("x", decompose_suite.spectral(spectrum, 80, 70, rank), rank)
    for which, error in enumerate(decompose_suite.ERRORS):
        result = [p.errors for p in decompose_suite.climb(OURS[error], case, 60.0)]
        assert min(e[which] for e in result) <= (1e-6, 1e-3)[which]


# Each setting compiles for a second, and what decays fast takes the fewest.
@pytest.mark.thorough
def test_parallel_workers_answer_every_question():
    case = decompose_suite.case("x", decompose_suite.spectral("exponential", 60, 50, 4), 4)
    result = [p.errors for p in decompose_suite.climb(COMPETITORS["parallel"], case, 60.0)]
    assert min(e[0] for e in result) <= 1e-6 and min(e[1] for e in result) <= 1e-3


def test_the_setting_is_chosen_by_the_ladder_not_by_its_time():
    slow, quick = Point("slow", (1e-4, 1.0), 9.0), Point("quick", (1e-5, 1e-4), 1.0)
    assert decompose_suite._first([slow, quick], 0, 1e-3) is slow
    assert decompose_suite._first([slow, quick], 1, 1e-3) is quick
    assert decompose_suite._first([slow], 1, 1e-3) is None


def test_costs_are_medians_over_the_spectra_that_were_answered():
    def row(spectrum, ours, reference):
        about = {"matrix": f"{spectrum}, any name", "spectrum": spectrum, "entries": 12, "rank": 2}
        about |= {"question": "residual 1e-3", "competitor": "ARPACK"}
        return about | {"seconds_ours": ours, "seconds_competitor": reference}

    real = row("digits", 9.0, 9.0) | {"spectrum": None}
    rows = [row("noisy", 1.0, None), row("plateau", 3.0, 5.0), row("new", 2.0, 5.0), real]
    assert costs(rows) == {"decompose, sum": {(12, 2): 2.0}, "ARPACK": {(12, 2): 5.0}}


def test_streams_of_one_batch_have_its_answer():
    """Ten times the same columns: sqrt(10) times M, and no more memory than for one."""
    once, often = (decompose_rates.reduction(n * decompose_rates.BATCH) for n in (1, 10))
    np.testing.assert_allclose(often.target, 10**0.5 * once.target, atol=1e-4)
    assert decompose_rates.stream_error(often, 10_000) < 1e-6
    assert decompose_rates.stream_error(once, 10_000) == pytest.approx(1 - 0.1**0.5)
    assert decompose_rates.peak(40_000) < 1.2 * decompose_rates.peak(10_000)


def test_real_matrices(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (900, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", x_test=images)
    tensors = {"long": draw(2, 99), "square": draw(8, 7), "bias": draw(50, 1)[:, 0]}
    save_file(tensors, tmp_path / "model.safetensors")
    result = dict(decompose_inputs.real(str(tmp_path), str(tmp_path)))
    assert {name: matrix.shape for name, matrix in result.items()} == {
        "digits": (64, 1797),
        "MNIST completion": (392, 392),
        "weight": (8, 7),
    }
    np.testing.assert_array_equal(result["weight"], tensors["square"])
    assert list(dict(decompose_inputs.real())) == ["digits"]
    x, y = np.split(images.reshape(900, -1).T / 255, 2)
    # W = Y X^+ is what no better map is: its size in the metric of the inputs is that of M.
    expected = np.linalg.norm(y @ np.linalg.pinv(x) @ x)
    assert np.linalg.norm(result["MNIST completion"]) == pytest.approx(expected, rel=1e-4)


def test_real_matrices_that_are_not_there(tmp_path):
    np.savez(tmp_path / "mnist.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="allowed is one with x_test"):
        list(decompose_inputs.real(str(tmp_path)))
    save_file({"bias": draw(5, 1)[:, 0]}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds no matrix"):
        list(decompose_inputs.real(None, str(tmp_path)))
    with pytest.raises(FileNotFoundError):
        list(decompose_inputs.real(str(tmp_path / "absent")))
