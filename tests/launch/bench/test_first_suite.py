"""The first minute: what is held against seconds, from processes of its own."""

import json

import pytest

from launch.bench import first_call, first_suite, goals


def test_what_a_process_measures():
    measured = first_call.main([(6, 2)])
    json.dumps(measured)
    (call,) = measured["calls"]
    assert (call["side"], call["rank"]) == (6, 2)
    assert min(call[name] for name in ("first", "processor", "next", "exact", "svd")) > 0
    assert measured["import"] >= measured["jax"] >= 0 and measured["overhead"] > 0
    assert 0 <= call["compiling"] <= call["first"]


def test_every_goal_has_its_row(monkeypatch):
    call = {"side": 6, "rank": 2, "first": 0.5, "processor": 0.6, "next": 0.04, "exact": 0.01}
    call |= {"svd": 0.02, "compiling": 0.3}
    printed = json.dumps({"import": 1.8, "jax": 0.7, "overhead": 0.002, "calls": [call]})

    def ended(*arguments, first=""):
        return 2.0, printed, 3.0 if first else None

    monkeypatch.setattr(first_suite, "_ended", ended)
    rows, _ = first_suite.run("quick")
    verdicts = {goal.text: goal.rows(rows) for goal in goals.GOALS if goal.suite == "first"}
    assert all(verdicts.values())
    page = goals.page(rows, {})
    assert "import jax: 0.7 of 1.8 s" in page and "compiling" not in page  # which is in time
    ratios = {f"{row['case']} by {row['ours']}": row["ratio"] for row in rows}
    assert ratios["first call, 6 x 6, r = 2 by a fresh process"] == pytest.approx(2)
    assert ratios["small problem, 6 x 6, r = 2 by exact"] == pytest.approx(2)
    assert ratios["small problem, 6 x 6, r = 2 by 50 rounds with bounds"] == pytest.approx(0.5)
    assert ratios["first row of the table by a fresh process"] == pytest.approx(5 / 3)


def test_a_process_that_fails_is_named():
    with pytest.raises(RuntimeError, match=r"status 3: told$"):
        first_suite._ended("-c", "import sys; print('told', file=sys.stderr); sys.exit(3)")


def test_the_line_that_is_waited_for(capfd):
    program = "import sys; e = sys.stderr; print('some'); print('w', file=e); print('x')"
    program += "; print('claims: 1/2', file=e)"
    seconds, printed, seen = first_suite._ended("-c", program, first="claims: 1/")
    assert 0 < seen <= seconds and printed.split() == ["some", "x"]
    assert capfd.readouterr().err == "claims: 1/2\n"  # who waits sees how far it is
