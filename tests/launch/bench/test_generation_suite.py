"""The generation suite on a tiny network: one row, and the bytes that a token reads."""

from launch.bench import generation_suite, goals
from launch.bench.rows import COLUMNS

WIDTHS = {
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 6,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}


def test_row():
    size = generation_suite.Size(1, 3, 5, 2, WIDTHS)
    (row,), note = generation_suite.run(size)
    assert tuple(row) == COLUMNS and "1 layers" in note
    # The table, q and o, k and v, three maps of the gated layer, three norms; float32.
    floats = 11 * 8 + 2 * 64 + 2 * 32 + 3 * 48 + 3 * 8
    rate = float(row["competitor"].split()[2]) * 1e9
    assert abs(row["seconds_competitor"] * rate / (4 * floats) - 1) < 0.01
    assert [goal.rows([row]) for goal in goals.GOALS if goal.suite == "generation"] == [[row]]
