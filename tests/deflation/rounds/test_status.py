"""Each status says what to do, and names the component."""

import pytest

from deflation import Status


def test_texts():
    for status in Status:
        text = status.advice.format(k=7)
        assert text and "\n" not in text and "{" not in text
        assert ("7" in text) == (status is not Status.CONVERGED)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.CONVERGED, ["every component is within the tolerance"]),
        (Status.BUDGET_SPENT, ["budget", "raise rounds"]),
        (Status.SMALL_GAP, ["gap", "sum of the components is right", "another rank"]),
        (Status.NOT_FINITE, ["NaN or infinity", "input", "step_size"]),
        (Status.NOT_PROVED, ["not proved", "bounds", "raise rounds"]),
        (Status.RANK_CUTS_GROUP, ["rank cuts", "nor is the sum", "another rank"]),
    ],
)
def test_what_to_do(status, words):
    assert all(word in status.advice for word in words)


def test_codes_are_stable():
    """Arrays of codes come out of jit, and files hold them."""
    assert [int(s) for s in Status] == [0, 1, 2, 3, 4, 5]
    assert Status(2) is Status.SMALL_GAP
