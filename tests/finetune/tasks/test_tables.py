"""The user's own files."""

import json

import numpy as np
import pytest

from finetune.tasks import tables
from finetune.tasks.tokens.tokenizer import from_fast
from tests.finetune.tasks import made

TOKENIZER = from_fast(made.backend())
LABELS = ["spam", "ham", "spam", "ham", "spam", "ham"]


def write(path, columns: dict):
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    if path.suffix == ".csv":
        lines = [",".join(columns), *(",".join(map(str, row.values())) for row in rows)]
    elif path.suffix == ".jsonl":
        lines = map(json.dumps, rows)
    else:
        return made.write_parquet(path, columns)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_same_task_from_every_format(tmp_path, suffix):
    columns = {"body": made.sentences(6), "kind": LABELS}
    files = {s: write(tmp_path / f"{s}{suffix}", columns) for s in ("train", "validation")}
    for data in (files, tmp_path):
        task = tables.load(data, TOKENIZER, ["body"], "kind")
        assert task.label_names == ("ham", "spam")
        assert task.labels("train").tolist() == [1, 0, 1, 0, 1, 0]
        assert task.metrics == ("accuracy", "f1", "matthews")
        assert task.evaluation == "validation" and task.name == "table"
        assert task.batch("train", 0, 0, 4)["input_ids"].shape == (4, 16)


def test_one_file_with_a_part_held_out(tmp_path):
    columns = {"body": made.sentences(50), "kind": [i % 3 for i in range(50)]}
    path = write(tmp_path / "all.csv", columns)
    task = tables.load(path, TOKENIZER, "body", "kind", heldout=0.2)
    assert [len(task.split(s)) for s in ("train", "heldout")] == [40, 10]
    assert task.evaluation == "heldout" and task.metrics == ("accuracy", "matthews")
    assert task.label_names == ("0", "1", "2")
    again = tables.load(path, TOKENIZER, "body", "kind", heldout=0.2)
    assert (again.labels("heldout") == task.labels("heldout")).all()
    together = sorted(np.concatenate([task.labels("train"), task.labels("heldout")]).tolist())
    assert together == sorted(columns["kind"])


def test_rows_without_text_are_counted(tmp_path):
    columns = {"a": ["x", "", " ", "y"], "b": ["", "z", " ", "w"], "kind": [0, 1, 0, 1]}
    path = write(tmp_path / "train.jsonl", columns)
    assert tables.load(path, TOKENIZER, "a", "kind").note == "train has 2 rows without text"
    assert tables.load(path, TOKENIZER, ("a", "b"), "kind").note == "train has 1 rows without text"
    assert tables.load(path, TOKENIZER, "b", "kind", label_names=("0", "1")).note != ""


def test_regression_on_pairs(tmp_path):
    columns = {"a": made.sentences(5), "b": made.sentences(5, 1), "score": [0.5, 2, 3, 1e3, -1]}
    path = write(tmp_path / "train.csv", columns)
    task = tables.load({"train": path}, TOKENIZER, ("a", "b"), "score", regression=True)
    assert task.num_labels == 1 and task.metric == "pearson_spearman"
    assert task.labels("train").tolist() == [0.5, 2, 3, 1000, -1]
    assert task.batch("train", 0, 0, 2)["token_type_ids"].max() == 1


def test_a_test_split_may_have_no_labels(tmp_path):
    write(tmp_path / "train.jsonl", {"body": made.sentences(6), "label": LABELS})
    write(tmp_path / "test.jsonl", {"body": made.sentences(2)})
    task = tables.load(tmp_path, TOKENIZER, ["body"])
    assert task.split("test").labels is None


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("value", [-1, "-1", "", None])
def test_hidden_labels_of_a_test_split(tmp_path, suffix, value):
    if suffix == ".csv" and value is None:
        value = ""
    write(tmp_path / f"train{suffix}", {"t": made.sentences(4), "label": ["x", "y", "y", "x"]})
    write(tmp_path / f"test{suffix}", {"t": made.sentences(2), "label": [value, value]})
    for regression in (False, True):
        if regression:
            write(tmp_path / f"train{suffix}", {"t": made.sentences(4), "label": [1, 2, 3, -1]})
        task = tables.load(tmp_path, TOKENIZER, "t", regression=regression)
        assert task.split("test").labels is None and len(task.split("test")) == 2
        with pytest.raises(ValueError, match="has no labels: it can be predicted and not scored"):
            task.labels("test")


def test_hidden_are_all_labels_or_none(tmp_path):
    write(tmp_path / "train.jsonl", {"t": made.sentences(4), "label": [0, 1, 1, 0]})
    write(tmp_path / "test.jsonl", {"t": made.sentences(2), "label": [1, -1]})
    with pytest.raises(ValueError, match="is -1 in row 1; allowed are 0, 1, or hidden labels in"):
        tables.load(tmp_path, TOKENIZER, "t")
    # A class of this name is no hidden label.
    write(tmp_path / "train.jsonl", {"t": made.sentences(4), "label": [-1, 1, 1, -1]})
    write(tmp_path / "test.jsonl", {"t": made.sentences(2), "label": [-1, -1]})
    assert tables.load(tmp_path, TOKENIZER, "t").labels("test").tolist() == [0, 0]
    # Only a test split may hide them.
    write(tmp_path / "validation.jsonl", {"t": made.sentences(2), "label": [None, None]})
    with pytest.raises(ValueError, match=r"validation.* is None in row 0; allowed are -1, 1"):
        tables.load(tmp_path, TOKENIZER, "t")


def test_rows_keep_their_numbers(tmp_path):
    columns = {"body": made.sentences(50), "kind": [i % 3 for i in range(50)]}
    task = tables.load(write(tmp_path / "a.csv", columns), TOKENIZER, "body", "kind", heldout=0.2)
    for split in ("train", "heldout"):
        rows = task.split(split)
        assert (rows.labels == rows.index % 3).all()
    both = np.concatenate([task.split(s).index for s in ("train", "heldout")])
    assert sorted(both) == list(range(50))


def test_nul_and_empty_texts_are_texts(tmp_path):
    columns = {"t": ["a\0b", "", "the cat"], "label": [0, 1, 0]}
    expected = tables.load(write(tmp_path / "a.jsonl", columns), TOKENIZER, "t").split("train")
    for suffix in (".csv", ".parquet"):
        task = tables.load(write(tmp_path / f"a{suffix}", columns), TOKENIZER, "t")
        assert task.split("train").fingerprint == expected.fingerprint
    assert expected.inputs["input_ids"].lengths.tolist() == [3, 2, 4]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"t": ["a"], "label": ["x"]}, {}, "has 1 classes; allowed are 2 or more"),
        (
            {"t": ["a", "b"], "label": [1, None]},
            {},
            "is None in row 1; allowed are strings, integers",
        ),
        (
            {"t": ["a", "b"], "label": [1, "x"]},
            {},
            "is 'x' in row 1; allowed are one type in all rows",
        ),
        ({"t": ["a", "b"], "label": [0.5, 1.5]}, {}, r"is 0.5 in row 0; .*numbers need regression"),
        (
            {"t": ["a", 2], "label": [0, 1]},
            {},
            "column 't' of .* is 2 in row 1; allowed are strings",
        ),
        ({"u": ["a", "b"], "label": [0, 1]}, {}, "column 't' is not in .*; allowed are u, label"),
        ({"t": ["a", "b"]}, {}, "column 'label' is not in .*; allowed are t"),
        (
            {"t": ["a", "b"], "label": [0, "x"]},
            {"regression": True},
            "is 'x' in row 1; allowed are fin",
        ),
        (
            {"t": ["a", "b"], "label": [0, 1]},
            {"texts": ()},
            "texts has 0 columns; allowed are 1 or 2 .--texts=NAME or --texts=A,B. of t, label",
        ),
        (
            {"t": ["a", "b"], "label": [0, 1]},
            {"heldout": 1.0},
            "heldout is 1.0; allowed are numbers",
        ),
        (
            {"t": ["a", "b \ud83d"], "label": [0, 1]},
            {},
            r"column 't' of .* is 'b \\ud83d' in row 1; allowed are whole characters",
        ),
        (
            {"t": ["a", "b"], "label": ["x", "\ud83d"]},
            {},
            r"column 'label' of .* is '\\ud83d' in row 1; allowed are whole characters",
        ),
        (
            {"t": ["a", float("nan")], "label": [0, 1]},
            {},
            "column 't' of .* is nan in row 1; allowed are strings",
        ),
        (
            {"t": ["a", "b"], "label": [0, float("inf")]},
            {"regression": True},
            "is inf in row 1; allowed are finite numbers",
        ),
        (
            {"t": ["a", "b"], "label": [0, 1e300]},
            {"regression": True},
            r"is 1e\+300 in row 1; allowed are finite numbers",
        ),
        ({"t": ["a", "b"], "label": [0, 1]}, {"heldout": -0.1}, "heldout is -0.1; allowed"),
        ({"t": ["a", "b"], "label": [0, 1]}, {"heldout": 0.01}, "heldout is 0.01, of 2 rows 0"),
        ({"t": ["a", "b"], "label": [0, 1]}, {"max_length": 2}, "max_length is 2"),
    ],
)
def test_refused(tmp_path, columns, options, message):
    path = write(tmp_path / "train.jsonl", columns)
    with pytest.raises(ValueError, match=message):
        tables.load(path, TOKENIZER, **{"texts": ["t"], **options})


def test_refused_splits(tmp_path):
    train = write(tmp_path / "a.jsonl", {"t": ["a", "b"], "label": [0, 1]})
    other = write(tmp_path / "b.jsonl", {"t": ["a"], "label": [2]})
    with pytest.raises(ValueError, match="is 2 in row 0; allowed are 0, 1"):
        tables.load({"train": train, "validation": other}, TOKENIZER, ["t"])
    with pytest.raises(
        ValueError, match="split is 'dev'; allowed are 'train', 'validation', 'test'"
    ):
        tables.load({"train": train, "dev": other}, TOKENIZER, ["t"])
    with pytest.raises(FileNotFoundError, match="allowed is one that includes train"):
        tables.load({"test": other}, TOKENIZER, ["t"])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tables.load(tmp_path / "c.csv", TOKENIZER, ["t"])
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(ValueError, match="column 'label' is not in"):
        tables.load(empty, TOKENIZER, ["t"])
