"""SQuAD's scores on answers whose values follow from the published rules by hand."""

import pytest

from finetune.tasks.squad import rules


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("The Eiffel Tower", "eiffel tower.", 1, 1),
        ("a  New-York", "NewYork", 1, 1),
        ("on June 1, 1999", "June 1", 0, 2 * 2 / (4 + 2)),
        ("red red blue", "red green", 0, 2 * 1 / (3 + 2)),
        ("cat", "dog", 0, 0),
        ("", "", 1, 1),
        ("the", "", 1, 1),
        ("cat", "", 0, 0),
        ("theatre", "atre", 0, 0),  # an article is a word, not a beginning
    ],
)
def test_one_answer(answer, right, exact, f1):
    assert rules.exact(answer, right) == exact
    assert rules.f1(answer, right) == pytest.approx(f1)


def test_the_best_of_several_counts():
    found = rules.score(["red cat", "", "x", ""], [["cat", "the red cat"], [], [], ["a", "cat"]])
    # "a" says nothing once its article is gone, and is no right answer.
    assert found == {"f1": 0.5, "exact_match": 0.5}
