"""Tasks side by side: what stands in a cell, and what a missing one says."""

from launch.comparing.across import across
from tests.launch.comparing.rows import row


def test_a_line_per_method_and_a_column_per_task():
    rows = [row("x", "lora", 0.7), row("x", "dora", 0.69, -0.01), row("y", "lora", 0.6)]
    rows += [row("y", "full", None), row("x", "head", 0.2, -0.5, 0.04)]
    lines, header = across(rows)
    assert header == ("method", "x", "y")
    assert lines == [
        ("lora", "0.700", "0.600"),
        ("dora", "0.690 (-0.010)", "-"),
        ("full", "-", "diverged"),
        ("head", "0.200 (-0.500 ± 0.040)", "-"),
    ]
