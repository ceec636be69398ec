"""Tables are aligned, and say nothing where there is nothing to say."""

import pytest

from launch.shell.tables import cell, table


def test_numbers_to_the_right_words_to_the_left():
    text = table(("claim", "trials", "tightness"), [("weyl", 8, 1.0), ("a", 1024, float("nan"))])
    assert text.splitlines() == [
        "claim  trials  tightness",
        "-----  ------  ---------",
        "weyl        8          1",
        "a        1024          -",
    ]


def test_no_rows_is_a_header():
    assert table(("a", "b"), []) == "a  b\n-  -"


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="a row has 1 cells; the header has 2"):
        table(("a", "b"), [("x",)])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "True"), (1.23456, "1.235"), (float("inf"), "inf"), (12345, "12345")],
)
def test_cells(value, text):
    assert cell(value) == text
