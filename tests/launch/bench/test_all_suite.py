"""All suites together: one that cannot run is said so, the others go on."""

import pytest

from launch.bench import all_suite, goals
from launch.bench import suites as named
from launch.bench.config import BenchmarkConfig
from launch.bench.decompose_methods import COMPETITORS
from launch.bench.rows import record
from tests.launch.commands import command


@pytest.fixture
def few(monkeypatch):
    chosen = (goals.Goal("quick", "made", "^start"), goals.Goal("ahead", "broken", "."))
    monkeypatch.setattr(goals, "GOALS", chosen)
    monkeypatch.setattr(all_suite, "SIDE", 8)


def test_a_suite_that_fails(few, capsys):
    rows = [record("made", "start", ("ours", goals.GOAL), (0.5, 1.0), (None, None))]

    def broken():
        raise ValueError("a package is missing\nand more")

    measured, page = all_suite.run({"broken": broken, "made": lambda: (rows, "a note")})
    assert measured == rows
    assert "GFLOP/s" in page and "PASS" in page and "a package is missing" in page
    assert "and more" not in page and "1 of 2 goals reached, 1 not measured" in page
    assert "broken: " in (told := capsys.readouterr().err) and "made: 0 s, 0 s in all" in told
    assert page.endswith("\n0 s in all: broken 0, made 0")


def test_a_defect_is_not_hidden(few):
    def defect():
        raise AssertionError

    with pytest.raises(AssertionError):
        all_suite.run({"made": defect})


def test_every_goal_belongs_to_a_suite_that_runs():
    assert {goal.suite for goal in goals.GOALS} == {*named.WITH_GOALS, ""}
    assert set(goals.COMPETITORS) <= set(COMPETITORS)
    assert len({goal.text for goal in goals.GOALS}) == len(goals.GOALS)


def test_the_page_is_all_that_is_printed(few, monkeypatch, capsys, tmp_path):
    row = record("made", "start", ("ours", goals.GOAL), (0.5, 1.0), (None, None))
    monkeypatch.setattr(named, "WITH_GOALS", ("made", "finetune"))
    monkeypatch.setitem(named.SUITES, "made", lambda config, threads: ([row], "a note"))
    asked = []

    def decompose(config, threads, names):
        asked.append((config.cases, names))
        return [], "nothing"

    monkeypatch.setattr(named, "decompose", decompose)
    assert command("benchmark", "--suite=all", f"--json={tmp_path / 'rows.json'}") == 0
    out = capsys.readouterr().out
    assert out.count("PASS") == 1 and "seconds_ours" not in out
    assert "start" in (tmp_path / "rows.json").read_text()
    assert asked == [(goals.CASES, goals.COMPETITORS)]


def test_fine_tuning_without_a_model_is_one_line():
    with pytest.raises(
        ValueError, match=r"^--model is needed: a folder with a BERT; or --language_model$"
    ):
        named.finetune(BenchmarkConfig(suite="all"), 1)
