"""Windows of paragraphs against those of the tokenizers package, and answers in them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.tasks.squad import extractive, windows
from finetune.tasks.tokens.tokenizer import from_fast
from tests.finetune.tasks import made
from tests.finetune.tasks.squad import published

FAST = from_fast(made.backend())


def load(folder, paragraphs, version="v1.1", **options):
    name = "squad" if version == "v1.1" else "squad_v2"
    published.write(folder, paragraphs, paragraphs, version)
    return extractive.load(name, FAST, folder, **options)


def overflowing(question, context, length, stride):
    """The windows that the package itself makes."""
    fast = made.backend(None)
    fast.enable_truncation(length, stride=stride, strategy="only_second")
    first = fast.encode(question, context)
    return [first, *first.overflowing]


def test_windows_are_those_of_the_tokenizers(tmp_path):
    task = load(tmp_path, published.drawn(9), max_length=17, stride=5)
    batch = task.batch("train", None, 0, len(task.windows["train"]))
    expected, places = [], []
    for question in task.questions[:9]:
        for row in overflowing(question.question, question.context, 17, 5):
            expected.append(row)
            places.append(_published_label(row, question))
    assert len(expected) > 20 and {len(row.ids) for row in expected} > {17}
    for row, got in enumerate(expected):
        size = len(got.ids)
        assert batch["attention_mask"][row].tolist() == [1] * size + [0] * (17 - size)
        assert batch["input_ids"][row, :size].tolist() == got.ids
        assert batch["token_type_ids"][row, :size].tolist() == got.type_ids
        inside = [i for i, number in enumerate(got.sequence_ids) if number == 1]
        assert (batch["first"][row], batch["size"][row]) == (inside[0], len(inside))
    assert batch["labels"].tolist() == places
    assert [0, 0] in places and any(first for first, _ in places)


def _published_label(row, question):
    """The places of the answer by the walk that transformers' example does."""
    begin, end = question.starts[0], question.starts[0] + len(question.answers[0])
    inside = [i for i, number in enumerate(row.sequence_ids) if number == 1]
    first, last = inside[0], inside[-1]
    if row.offsets[first][0] > begin or row.offsets[last][1] < end:
        return [0, 0]
    while first < len(row.offsets) and row.offsets[first][0] <= begin:
        first += 1
        if first > inside[-1]:
            break
    while row.offsets[last][1] >= end:
        last -= 1
    return [first - 1, last + 1]


def test_an_answer_in_the_second_window(tmp_path):
    far = published.paragraph(0, "red cat", ["a"] * 20, at=14)
    task = load(tmp_path, [far], max_length=20, stride=4)
    batch = task.batch("train", None, 0, 2)
    # 13 tokens of the paragraph fit: the second window begins 9 tokens on.
    assert batch["labels"].tolist() == [[0, 0], [6 + 14 - 9, 6 + 15 - 9]]
    assert task.note == "" and len(task.split("train")) == 1 and task.steps("train", 1) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(1, 20), st.integers(0, 30))
def test_windows_hold_every_token_and_overlap(counts, room, stride):
    stride = min(stride, room - 1)
    rows = [range(count + 4) for count in counts]
    inputs = {
        "input_ids": windows.Ragged.from_rows(rows),
        "begins": windows.Ragged.from_rows(range(count) for count in counts),
    }
    cut = windows.cut(inputs, room + 4, stride)
    for row, count in enumerate(counts):
        own = cut.row == row
        start, end = cut.start[own], (cut.start + cut.size)[own]
        assert start[0] == 0 and end[-1] == count and cut.lengths[own].max() <= room + 4
        assert (end[:-1] - start[1:] == stride).all()


def test_answers_that_no_token_holds_are_counted(tmp_path):
    lost = published.paragraph(1, "red cat", [" ", "a", "b"], at=0)
    lost["context"] = "  " + lost["context"]
    lost["qas"][0]["answers"] = [{"text": " ", "answer_start": 0}]  # no token begins there
    wide = published.paragraph(2, "a " * 15 + "a", ["b"] * 3)
    task = load(tmp_path, [*published.drawn(2), lost, wide], max_length=20, stride=4)
    assert "of 2 of 4 questions of train no window holds the whole answer" in task.note
    cut = task.windows["train"]
    labels = task.batch("train", None, 0, len(cut))["labels"]
    assert len(task.split("train")) == 4 and not labels[cut.row >= 2].any()


def test_refusals(tmp_path):
    long = published.drawn(2)
    with pytest.raises(ValueError, match="max_length is 8; allowed with question 'q0' are 9 or mo"):
        load(tmp_path, [published.paragraph(0, "red", asked="the cat on a mat")], max_length=8)
    with pytest.raises(ValueError, match="stride is 13; allowed with max_length 20 are 0 to 12, b"):
        load(tmp_path, long, max_length=20, stride=13)
    with pytest.raises(ValueError, match="stride is -1"):
        load(tmp_path, long, stride=-1)
    with pytest.raises(ValueError, match="n_best is 0"):
        load(tmp_path, long, n_best=0)
    wrong = published.drawn(1)
    wrong[0]["qas"][0]["answers"][0]["answer_start"] += 1
    with pytest.raises(ValueError, match=r"answer_start is .* of question 'q0' of split 'train',"):
        load(tmp_path, wrong)
    del wrong[0]["qas"][0]["answers"][0]["answer_start"]
    with pytest.raises(ValueError, match="question 'q0' of split 'train' has no answer_start"):
        load(tmp_path, wrong)
    del wrong[0]["qas"][0]["answers"], wrong[0]["qas"][0]["is_impossible"]
    with pytest.raises(ValueError, match="question 'q0' of split 'train' has no entry answers"):
        load(tmp_path, wrong)
