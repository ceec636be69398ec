"""The lines of a run's metrics: what comes back after a kill."""

from finetune.training import metrics


def test_nothing_after_a_damaged_line_is_read(tmp_path):
    """Only a kill cuts a line short, and what follows it belongs to no run that was resumed."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n')
    assert metrics.read(path) == [{"step": 1}]


def test_records_up_to_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    assert [record["step"] for record in metrics.read(path, upto=2)] == [1, 2]
    assert metrics.read(tmp_path / "none.jsonl") == []
