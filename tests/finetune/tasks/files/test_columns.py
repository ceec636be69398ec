"""Every refusal names the column, the row, the value and what is allowed."""

import math

import numpy as np
import pytest

from finetune.tasks.files import columns
from finetune.tasks.files.table import Table

NAMES = ("no", "yes")


def table(values, recorded=()) -> Table:
    return Table("made.jsonl", {"c": values}, {"c": tuple(recorded)} if recorded else {})


def test_classes():
    got = columns.classes(table([1, 0, np.int64(1)], NAMES), "c", NAMES)
    assert got.tolist() == [1, 0, 1] and got.dtype == np.int32
    assert columns.classes(table([-1, -1]), "c", NAMES) is None


def test_numbers():
    got = columns.numbers(table([1, 2.5, "3e0"]), "c")
    assert got.tolist() == [1, 2.5, 3] and got.dtype == np.float32
    assert columns.numbers(table([-1.0, -1.0]), "c", 0, 5) is None
    assert columns.numbers(table([-1.0, -1.0]), "c").tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([10, 9, 10], ("9", "10")),
        (["10", "9"], ("9", "10")),
        ([True, False], ("False", "True")),
        (["10", "9", "x"], ("10", "9", "x")),
    ],
)
def test_names_of_classes(values, names):
    assert columns.names_of_classes(table(values), "c") == names
    got = columns.classes_by_name(table(values), "c", names)
    assert [names[number] for number in got] == [str(value) for value in values]


ROW = r"column 'c' of made.jsonl is {} in row {}; allowed are {}"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: columns.texts(table(["a", None]), "c"), ROW.format("None", 1, "strings")),
        (lambda: columns.texts(table(["a", 3]), "c"), ROW.format("3", 1, "strings")),
        (
            lambda: columns.classes(table([0, 2]), "c", NAMES),
            ROW.format("2", 1, r"0 \(no\), 1 \(yes\)"),
        ),
        (lambda: columns.classes(table([0, -1]), "c", NAMES), ROW.format("-1", 1, "0")),
        (lambda: columns.classes(table([1.0]), "c", NAMES), ROW.format("1.0", 0, "0")),
        (lambda: columns.classes(table([True]), "c", NAMES), ROW.format("True", 0, "0")),
        (lambda: columns.classes(table(["yes"]), "c", NAMES), ROW.format("'yes'", 0, "0")),
        (lambda: columns.classes(table([None]), "c", NAMES), ROW.format("None", 0, "0")),
        (
            lambda: columns.classes(table([0], ("yes", "no")), "c", NAMES),
            "column 'c' of made.jsonl has the classes yes, no; allowed are no, yes, in this order",
        ),
        (lambda: columns.numbers(table([0, math.nan]), "c"), ROW.format("nan", 1, "finite")),
        (lambda: columns.numbers(table([math.inf]), "c"), ROW.format("inf", 0, "finite")),
        (lambda: columns.numbers(table([None]), "c"), ROW.format("None", 0, "finite")),
        (lambda: columns.numbers(table(["high"]), "c"), ROW.format("'high'", 0, "finite")),
        (
            lambda: columns.numbers(table([5.1]), "c", 0, 5),
            ROW.format("5.1", 0, "numbers from 0 to 5"),
        ),
        (lambda: columns.names_of_classes(table(["a", 1]), "c"), ROW.format("1", 1, "one type")),
        (
            lambda: columns.names_of_classes(table([1, True]), "c"),
            ROW.format("True", 1, "one type"),
        ),
        (lambda: columns.names_of_classes(table([0.5]), "c"), ROW.format("0.5", 0, "strings, int")),
        (lambda: columns.names_of_classes(table(["a", ""]), "c"), ROW.format("''", 1, "strings")),
        (lambda: columns.names_of_classes(table([None]), "c"), ROW.format("None", 0, "strings")),
        (
            lambda: columns.names_of_classes(table(["a"]), "c"),
            "has 1 classes; allowed are 2 or more",
        ),
        (lambda: columns.names_of_classes(table([]), "c"), "has 0 classes; allowed are 2 or more"),
        (
            lambda: columns.classes_by_name(table(["x"]), "c", NAMES),
            ROW.format("'x'", 0, "no, yes"),
        ),
        (lambda: columns.texts(table([]), "d"), "column 'd' is not in made.jsonl; allowed are c"),
    ],
)
def test_refused(check, message):
    with pytest.raises(ValueError, match=message):
        check()


@pytest.mark.parametrize(
    ("values", "names"),
    [(["1", "01", " 1", "2"], (" 1", "01", "1", "2")), (["1.0", "2.0"], ("1.0", "2.0"))],
)
def test_the_order_of_classes_is_that_of_their_values_alone(values, names):
    for given in (values, values[::-1]):
        assert columns.names_of_classes(table(given), "c") == names


def test_numbers_in_a_csv_are_no_classes():
    with pytest.raises(ValueError, match=r"is '0.5' in row 1; .*numbers need regression"):
        columns.names_of_classes(table(["1", "0.5", "2"]), "c")
    assert columns.names_of_classes(table(["0.5", "half"]), "c") == ("0.5", "half")


def test_digits_with_marks_between_them_are_no_numbers():
    with pytest.raises(ValueError, match=r"is '1_000' in row 0; allowed are finite numbers"):
        columns.numbers(table(["1_000"]), "c")
