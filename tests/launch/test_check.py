"""The evidence table as a command: what it prints, writes and returns."""

import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from launch import check as command
from launch.evidence import checking
from launch.evidence import page as evidence
from launch.evidence.sources import registry
from launch.shell import app
from linear_theory import Claim, Control, Evidence, Row

KEYS = [
    "claim",
    "source",
    "trials",
    "premises_met",
    "violations",
    "tightness_min",
    "tightness_median",
    "control_caught",
    "seconds",
]


def claim(name, bound=2.0, control=0.5, premise=True):
    """measured is uniform on (1/2, 1); the bound decides whether it holds."""

    def upper(limit, where=True):
        return lambda batch: Evidence(batch, limit, where)

    return Claim(
        name=name,
        source="a document, (1)",
        statement=f"the words of {name}",
        formula="a <= b",
        kind="upper",
        status="new",
        instances=lambda key, trials: np.asarray(jax.random.uniform(key, (trials,))) / 2 + 0.5,
        measure=upper(bound, premise),
        control=Control("changed", upper(control)),
    )


@pytest.fixture
def launch(monkeypatch, capsys):
    """Runs the command on the given claims: (status, stdout, stderr)."""

    def call(claims, *arguments):
        monkeypatch.setattr(checking, "registry", lambda: {c.name: c for c in claims})
        with pytest.raises(SystemExit) as ended:
            app.run(command.main, checking.CheckConfig, ["check", *arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


GOOD = [claim("one.first"), claim("two.second", bound=4.0)]


def test_all_is_well(launch):
    status, out, err = launch(GOOD)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split("  ")[0] == "claim"
    assert [word in lines[0] for word in ("tightness min", "premises met")] == [True, True]
    assert lines[2].split()[0] == "one.first" and "yes 100%" in lines[2]
    assert lines[-1].startswith("2 claims, 0 violations, 2 controls caught, ")
    assert err.splitlines()[-1].startswith("claims: 2/2")


@pytest.mark.parametrize(
    ("bad", "summary"),
    [
        (claim("bad.violated", bound=0.75), "controls caught"),
        (claim("bad.control", control=2.0), "0 violations, 1 controls caught"),
        (claim("bad.premise", premise=False), "0 violations, 2 controls caught"),
        (claim("bad.nan", bound=np.nan), "256 violations, 2 controls caught"),
    ],
)
def test_whatever_does_not_hold_is_status_one(launch, bad, summary):
    status, out, _ = launch([GOOD[0], bad])
    assert status == 1
    assert f"FAILED: {bad.name}" in out and "FAILED: one.first" not in out
    assert summary in out.splitlines()[-1]
    if bad.name == "bad.control":
        assert "NO   0%" in out


def test_the_json_is_a_list_of_objects(launch, tmp_path):
    path = tmp_path / "evidence.json"
    zero = claim("two.zero", bound=np.inf)
    status, _, _ = launch([GOOD[0], zero], "--trials=8", f"--json={path}")
    assert status == 0
    first, second = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert list(first) == list(second) == KEYS
    assert (first["claim"], first["source"]) == ("one.first", "a document, (1)")
    assert (first["trials"], first["premises_met"], first["violations"]) == (8, 8, 0)
    assert first["control_caught"] is True
    assert 2 < first["tightness_min"] <= first["tightness_median"] < 4
    assert first["seconds"] >= 0
    # An infinite bound has no tightness.
    assert second["tightness_min"] is None and second["tightness_median"] is None


def without_time(path):
    return [{**row, "seconds": 0} for row in json.loads(path.read_text())]


def test_seed_and_selection(launch, tmp_path):
    paths = [tmp_path / f"{k}.json" for k in range(4)]
    launch(GOOD, f"--json={paths[0]}")
    launch(GOOD, f"--json={paths[1]}", "--seed=0")
    launch(GOOD, f"--json={paths[2]}", "--seed=4294967295")
    launch(GOOD, f"--json={paths[3]}", "--claims=^two")
    tables = [without_time(path) for path in paths]
    assert tables[0] == tables[1] != tables[2]
    # A claim's row does not depend on which others are checked.
    assert tables[3] == tables[0][1:]


def test_list_runs_nothing(launch, tmp_path):
    broken = claim("one.broken")
    object.__setattr__(broken, "instances", pytest.fail)
    status, out, err = launch([broken], "--list", f"--workdir={tmp_path}/w")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == ["name", "kind", "status", "source", "statement"]
    for text in ("one.broken", "upper", "new", "a document, (1)", "the words of one.broken"):
        assert text in out.splitlines()[2]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claims=("], "--claims=( is no regular expression"),
        (["--claims=third"], "--claims=third is in no claim's name"),
        (["--trials=0"], "--trials=0"),
        (["--trials=-3"], "--trials=-3"),
        (["--trials=1.5"], "--trials=1.5"),
        (["--seed=-1"], "--seed=-1"),
        (["--seed=4294967296"], "--seed=4294967296"),
        (["--trails=3"], "Did you mean: trials"),
        (["evidence.json"], "unexpected argument 'evidence.json'"),
        (["--json=missing/table.json"], "there is no folder missing"),
        (["--json=."], "is a folder"),
        (["--workdir=file"], "--workdir=file is, or lies in, a file"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    launch, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    untouched = claim("one.untouched")
    object.__setattr__(untouched, "instances", pytest.fail)
    status, out, err = launch([untouched], *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("check: ") and message in err and err.count("\n") == 1


def test_a_defect_of_a_claim_is_not_the_users_mistake(launch, monkeypatch):
    broken = claim("one.broken")
    object.__setattr__(broken, "instances", lambda key, trials: 1 / 0)
    with pytest.raises(RuntimeError, match=r"claim one\.broken could not be checked"):
        monkeypatch.setattr(checking, "registry", lambda: {"one.broken": broken})
        app.run(command.main, checking.CheckConfig, ["check"])


def test_workdir(launch, tmp_path):
    status, _, _ = launch(GOOD, f"--workdir={tmp_path}/run", "--trials=4", "--seed=3")
    assert status == 0
    files = {path.name: path.read_text() for path in (tmp_path / "run").iterdir()}
    assert sorted(files) == ["config.json", "metrics.jsonl", "result.json"]
    config = {"claims": "", "list": False, "trials": 4, "seed": 3, "json": None, "report": None}
    config |= {"jobs": None, "workdir": f"{tmp_path}/run"}
    assert json.loads(files["config.json"]) == config
    rows = [json.loads(line) for line in files["metrics.jsonl"].splitlines()]
    assert rows == json.loads(files["result.json"])["rows"]
    assert [list(row) for row in rows] == [KEYS, KEYS]


def test_a_kill_loses_no_finished_row_and_no_old_table(launch, tmp_path):
    path = tmp_path / "evidence.json"
    path.write_text("old")

    def interrupt(key, trials):
        raise KeyboardInterrupt

    last = claim("two.last")
    object.__setattr__(last, "instances", interrupt)
    arguments = (f"--json={path}", f"--workdir={tmp_path}/run")
    status, out, err = launch([GOOD[0], last], *arguments)
    assert (status, out) == (130, "") and err.endswith("check: interrupted\n")
    assert path.read_text() == "old"
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["claim"] == "one.first"
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    "argument",
    ["--trails=3", pytest.param("--json=/nowhere/table.json", marks=pytest.mark.thorough)],
)
def test_as_a_program(argument):
    ended = subprocess.run(
        [sys.executable, "-m", "launch.check", argument],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("check: ") and ended.stderr.count("\n") == 1


def test_a_page_of_evidence(launch, tmp_path, monkeypatch):
    good, bad = claim("good.one"), claim("bad.two", bound=0.6)
    drawn = []

    def draw(folder, names):
        drawn.extend(names)
        return dict.fromkeys(names, "two terms\nagree")

    monkeypatch.setattr(evidence, "draw", draw)
    (tmp_path / "README.md").write_text("`launch.figures --name=vision_paths`")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "01_a.ipynb").write_text('"registry()[\\"toy_paths\\"] and extensions"')
    good = dataclasses.replace(good, figure="noise_floor", formula="|a| <= b")
    assert launch([good, bad], "--trials=8", f"--report={tmp_path}/page")[0] == 1
    page = (tmp_path / "page" / "evidence.md").read_text()
    assert "## Good" in page and "the words of good.one `\\|a\\| <= b`" in page
    assert "**Failed:** bad.two." in page and "2 new, proved or observed here" in page
    assert "--trials=8 --seed=0" in page and "![noise_floor](figures/noise_floor.png)" in page
    assert drawn == ["noise_floor"] and "changed: 100%" in page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    claims, figures = lines[: -2 - len(registry())], lines[-2 - len(registry()) :]
    assert {line.replace("\\|", "").count("|") for line in claims} == {9}
    # Every registered figure, with its outcome or the page that has it.
    assert {line.count("|") for line in figures} == {5}
    outcome = {line.split("`")[1]: line for line in figures[2:]}
    assert list(outcome) == list(registry())
    assert "| above: two terms; agree |" in outcome["noise_floor"]
    assert "| [README.md](../README.md) |" in outcome["vision_paths"]
    assert "| [01_a.ipynb](01_a.ipynb) |" in outcome["toy_paths"]
    assert "| none yet: `launch.figures --name=extensions` |" in outcome["extensions"]


def test_what_all_rows_say():
    claims = [claim("a.one"), dataclasses.replace(claim("a.two"), status="as printed")]
    row = Row("a.one", "", 8, 8, 0, 1.0, 1.0, True, 0.1, 1.0, math.nan)
    few = row._replace(claim="a.two", premises_met=3)
    text = evidence.summary(claims, [row, few], "check")
    assert "2 claims: 1 of documents (1 as printed), 1 new, proved or observed here." in text
    assert "At least 8 of 8 instances meet the premises, but of 1 claims fewer are" in text
    assert "drawn or do: `a.two` 3." in text
    assert "At least 8 of 8 instances meet the premises.\n" in (
        evidence.summary(claims[:1], [row], "check")
    )


@pytest.mark.thorough  # the page is written above, the figure has its own test
def test_figures_of_the_page(tmp_path):
    result = evidence.draw(tmp_path, ["noise_floor", "noise_floor"])
    assert list(result) == ["noise_floor"] and result["noise_floor"]
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["noise_floor.png"]


def test_the_readme_counts_the_claims():
    text = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    assert " ".join(evidence.origins(checking.select("")).split()) in text
