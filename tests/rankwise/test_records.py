"""The lines of a run's metrics: what comes back after a kill."""

from rankwise import records


def test_nothing_after_a_damaged_line_is_read(tmp_path):
    """Only a kill cuts a line short, and what follows it belongs to no run that was resumed."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n')
    assert records.read(path) == [{"step": 1}]


def test_records_up_to_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    assert [record["step"] for record in records.read(path, upto=2)] == [1, 2]
    assert records.read(tmp_path / "none.jsonl") == []


def test_a_run_that_goes_on_drops_what_it_repeats(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 1}\n{"round": 2}\n{"round": 3}\n')
    records.JsonLines(path, upto=2, count="round").write({"round": 3, "again": True})
    rounds = [(record["round"], record.get("again")) for record in records.read(path)]
    assert rounds == [(1, None), (2, None), (3, True)]
