"""The moments suite on a tiny stream: rows of the promised form, and an error that is true."""

from launch.bench import goals, moments_suite
from launch.bench.rows import COLUMNS


def test_rows():
    block = moments_suite.BLOCK
    rows, note = moments_suite.run(moments_suite.Size(12, 5, 8 * block, 2 * block))
    assert [row["competitor"].partition(",")[0] for row in rows] == ["its products", "host's QR"]
    for row in rows:
        assert tuple(row) == COLUMNS
        assert 0 < row["error_ours"] < 1e-5
    assert "8192 columns" in note
    for goal in goals.GOALS:
        if goal.suite == "moments":
            assert len(goal.rows(rows)) == 1
