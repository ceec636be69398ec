"""A table of one's own: errors by rank, coefficients, predictions, and what is refused."""

import csv
import json

import numpy as np
import pytest

pytest.importorskip("sklearn")
from tests.launch.commands import command

G = np.random.default_rng(0)
X = G.normal(size=(40, 3)) * [1, 10, 0.1] + 5
Y = X @ np.outer([1, 0.1, 10], [1, -2]) + 7 + 0.01 * G.normal(size=(40, 2))
NAMES = ["u", "v", "w", "a", "b"]


def written(path, names=NAMES, rows=None):
    rows = np.column_stack([X, Y]).tolist() if rows is None else rows
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return f"--data={path}"


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def data(tmp_path):
    return written(tmp_path / "table.csv")


def test_everything_is_written(data, tmp_path, capsys):
    new = tmp_path / "new.csv"
    written(new, ["id", "w", "u", "v"], [["x", *X[0, [2, 0, 1]]], ["y", *X[1, [2, 0, 1]]]])
    out = tmp_path / "run"
    flags = [data, "--targets=a,b", f"--new={new}", f"--predictions={tmp_path}/p.csv"]
    flags += ["--standardise", "--rule=one_standard_error", f"--workdir={out}"]
    assert command("regress", *flags) == 0
    record = json.loads((out / "result.json").read_text())
    assert record["rank"] == 1 and record["inputs"] == ["u", "v", "w"]
    assert len(record["by_rank"]) == 3 and record["by_rank"][1]["held-out R2"] > 0.99
    header, intercept, *rows = table(out / "coefficients.csv")
    assert header == ["", "a", "b"] and intercept[0] == "(intercept)"
    weight = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(weight, np.outer([1, 0.1, 10], [1, -2]), atol=0.2)
    header, *rows = table(tmp_path / "p.csv")
    assert header == ["id", "a", "b"] and [row[0] for row in rows] == ["x", "y"]
    np.testing.assert_allclose(np.array([r[1:] for r in rows], float), Y[:2], atol=0.2)
    assert {p.name for p in out.iterdir()} >= {"errors.csv", "errors.png", "errors.svg"}
    assert "rank 1 by --rule=one_standard_error; 40 rows, 3 inputs, 2 targets" in (
        capsys.readouterr().out
    )
    before = (out / "coefficients.csv").read_bytes()
    assert command("regress", *flags, "--rank=2") == 2
    assert "earlier result" in capsys.readouterr().err
    assert (out / "coefficients.csv").read_bytes() == before


def test_one_target_and_a_rank_of_one_s_own(data, tmp_path):
    result = tmp_path / "r.json"
    flags = ["--targets=a", "--inputs=u,v,w", "--rank=1", f"--json={result}"]
    assert command("regress", data, *flags) == 0
    record = json.loads(result.read_text())
    assert np.shape(record["coefficients"]) == (1, 3) and len(record["by_rank"]) == 2


def refused(capsys, *flags):
    assert command("regress", *flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("regress: ") and said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--targets=c"], "column 'c' is not in"),
        (["--targets=a,a"], "--targets has 'a' twice"),
        (["--targets=a", "--inputs=a,u"], "--inputs has 'a', which is one of --targets"),
        (["--targets=a", "--rank=0"], "--rank=0; allowed are auto and integers >= 1"),
        (["--targets=a,b", "--rank=3"], "rank is 3; allowed are integers from 1 to 2"),
        (["--targets=a", "--rank=two"], "--rank=two"),
        (["--targets=a", "--folds=41"], "has 40 rows; allowed are as many rows as folds"),
        (["--targets=a,b,u,v,w"], "no column that is not one of --targets"),
        (["--targets=a", "--new=x.csv"], "give --new and --predictions together"),
        ([], "--targets is missing"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, message, data, capsys):
    assert message in refused(capsys, data, *flags)


@pytest.mark.parametrize(
    ("names", "rows", "message"),
    [
        (
            ["u", "a"],
            [[1, 2], ["red", 3]],
            "finite numbers; --inputs names",
        ),
        (["u", "a"], [[1, 2], ["nan", 3]], "is 'nan' in row 1"),
        (["u", "a"], [[1, 2], ["", 3]], "is '' in row 1"),
        (["u", "a"], [[1, 2], [1, 3]], "is 1 in every row"),
        (["u", "a"], [], "has no rows"),
        ([1.5, 2], [[1, 2], [1, 3]], "the first line of"),
        (["name", 0, 1], [["u", 1, 2], ["a", 3, 4]], "'a' is a row of"),
    ],
)
def test_tables_that_cannot_be_used_are_one_line(names, rows, message, tmp_path, capsys):
    data = written(tmp_path / "table.csv", names, rows)
    said = refused(capsys, data, "--targets=a", "--standardise", "--folds=2")
    assert message in said


def test_a_table_without_signal_is_said_to_have_none(tmp_path, capsys):
    g = np.random.default_rng(1)
    data = written(tmp_path / "t.csv", NAMES, g.normal(size=(12, 5)).tolist())
    assert command("regress", data, "--targets=a,b") == 0
    assert "no better on rows held out than the mean" in capsys.readouterr().out
