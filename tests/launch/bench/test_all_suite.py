"""All suites together: one that cannot run is said so, the others go on."""

import pytest

from launch.bench import all_suite, goals
from launch.bench import suites as named
from launch.bench.rows import record


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
    assert "broken: " in capsys.readouterr().err


def test_a_defect_is_not_hidden(few):
    def defect():
        raise AssertionError

    with pytest.raises(AssertionError):
        all_suite.run({"made": defect})


def test_every_goal_belongs_to_a_suite_that_runs():
    assert {goal.suite for goal in goals.GOALS} <= set(named.WITH_GOALS)
    assert len({goal.text for goal in goals.GOALS}) == len(goals.GOALS)
