"""The scaling suite: its model by hand, its rows in the promised form, its counts by `parallel`."""

import json

import numpy as np
import pytest

from deflation import exact, parallel
from launch.bench import rows as benchmark_rows
from launch.bench.processes import scaling_model, scaling_suite, scaling_worker
from launch.bench.processes.scaling_model import Link, Work
from tests.launch.commands import command

TINY = scaling_suite.Size(12, 10, 5, rounds=2, repeats=1, accuracy=1e-2)
LINK = Link("slow", latency=1.0, bandwidth=100.0)


def test_bytes_of_the_one_all_gather():
    work = Work(rank=5, numbers=22)
    assert [work.per_device(p) for p in (1, 2, 4, 8)] == [5, 3, 2, 1]
    assert work.gathered_bytes(2) == 2 * 3 * 22 * 4


def test_a_round_adds_the_exchange_or_hides_the_shorter():
    work, compute = Work(rank=4, numbers=25), {4: 12.0, 2: 6.0, 1: 3.0}

    def seconds(devices, tau):
        return scaling_model.round_seconds(work, devices, LINK, compute, tau)

    assert seconds(1, 0) == seconds(1, 1) == 12.0
    # A device receives half of the 400 bytes in one message, then 3 quarters in three.
    assert (seconds(2, 0), seconds(2, 1)) == (6.0 + 3.0, 6.0)
    assert (seconds(4, 0), seconds(4, 1)) == (3.0 + 6.0, 6.0)


@pytest.mark.thorough  # they are counted below too
@pytest.mark.parametrize(
    ("begin", "staleness"),
    [("staggered", 0), ("published at once", 1)],
)
def test_rounds_to_accuracy_are_those_of_a_run(begin, staleness):
    count, error = scaling_suite.rounds_to_accuracy(TINY, begin, staleness)
    problem, _ = scaling_worker.problem_of(TINY.rows, TINY.columns, TINY.rank)
    best = exact(problem, TINY.rank).components
    how = scaling_suite.STARTS[begin] | {"staleness": staleness}
    for rounds, reached in ((count, True), (count - 1, False)):
        result = parallel(problem, TINY.rank, rounds=rounds, **how).components
        b, a = (np.asarray(rows) for rows in result)
        wanted_b, wanted_a = (np.asarray(rows) for rows in best)
        gap = b[:, :, None] * a[:, None] - wanted_b[:, :, None] * wanted_a[:, None]
        worst = np.max(np.linalg.norm(gap, axis=(1, 2)) / np.linalg.norm(wanted_b, axis=1))
        assert (worst <= TINY.accuracy) == reached
        if reached:
            assert worst == pytest.approx(error, rel=1e-2)


def test_an_accuracy_out_of_reach_is_one_line():
    size = scaling_suite.Size(12, 10, 5, accuracy=1e-9, longest=3)
    with pytest.raises(ValueError, match="longest is 3"):
        scaling_suite.rounds_to_accuracy(size, "staggered", 0)


@pytest.mark.thorough  # the rows of one process are a default test below
def test_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(scaling_suite.SIZES, "quick", TINY)
    path = tmp_path / "rows.json"
    assert command("benchmark", "--suite=scaling", "--size=quick", f"--json={path}") == 0
    rows = json.loads(path.read_text())
    assert len(rows) == 3 * (6 + 18) + 4  # of three links, and of the measured pair
    assert all(tuple(row) == benchmark_rows.COLUMNS and row["suite"] == "scaling" for row in rows)
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds_competitor"] / row["seconds_ours"])
    ends = [row for row in rows if row["case"].startswith("end to end")]
    assert len(ends) == 3 * 18 and all(row["error_ours"] <= TINY.accuracy for row in ends)
    measured = [row for row in rows if row["ours"] == "2 processes measured"]
    assert [row["competitor"].split()[0] for row in measured] == ["1", "model,"] * 2
    assert "all-gather" in capsys.readouterr().out


def test_an_accelerator_times_the_shares_in_this_process(monkeypatch):
    monkeypatch.setattr(scaling_suite.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(scaling_suite.subprocess, "Popen", None)
    monkeypatch.setattr(scaling_suite, "rounds_to_accuracy", lambda *_: (3, 1e-3))
    rows = scaling_suite.rows(TINY)
    assert len(rows) == 3 * (6 + 18) and all(row["ours"].startswith("model") for row in rows)
    assert all(row["seconds_ours"] > 0 for row in rows)


def test_a_process_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(scaling_suite, "ROOT", "/absent")
    monkeypatch.setattr(scaling_suite.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="failed"):
        scaling_suite._measured(TINY, 1)
