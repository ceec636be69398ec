"""The numbering of a checkpoint and the names of the data meet."""

import dataclasses
import json

import numpy as np
import pytest

from finetune.tasks import class_names, glue, predictions, tables
from tests.finetune.tasks.made import backend, sentences


def write(folder, split, labels, column="label"):
    rows = zip(sentences(len(labels)), labels, strict=True)
    lines = [f"text,{column}", *(f"{text},{label}" for text, label in rows)]
    (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def table(folder, **given):
    return tables.load(folder, tokenizer(), "text", **given)


def tokenizer():
    from finetune.tasks.tokens.tokenizer import from_fast

    return from_fast(backend())


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ({}, None),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None),
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"x": 1, "y": 0}}, ("y", "x")),
        ({"id2label": {"0": 0, "1": 1}}, ("0", "1")),
        ({"id2label": {"0": "a", "2": "b"}}, None),
        ({"id2label": {"0": "a", "1": "a"}}, None),
    ],
)
def test_names_of_a_checkpoint(raw, names):
    assert class_names.of_config(raw) == names


def test_two_numberings_of_one_checkpoint_are_refused():
    with pytest.raises(ValueError, match="a, b in id2label and b, a in label2id"):
        class_names.of_config({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}})


def test_the_checkpoint_numbers_the_classes(tmp_path):
    write(tmp_path, "train", ["neg", "pos", "pos"])
    task = table(tmp_path)
    turned = class_names.renumbered(task, ("POS", "NEG"))
    assert turned.label_names == ("pos", "neg")
    assert turned.labels("train").tolist() == [1, 0, 0]
    # F1 goes on counting the same class.
    assert task.positive_class == turned.positive_class == "pos"
    guess = np.array([1, 1, 1])
    assert turned.score(1 - guess, turned.labels("train")) == task.score(
        guess, task.labels("train")
    )
    assert class_names.renumbered(task, ("good", "bad")) is None


def test_more_classes_than_the_data_have(tmp_path):
    write(tmp_path, "train", ["neg", "pos", "pos"])
    turned = class_names.renumbered(table(tmp_path), ("pos", "even", "neg"))
    assert turned.label_names == ("pos", "even", "neg") and turned.num_labels == 3
    assert turned.labels("train").tolist() == [2, 0, 0]


def test_bare_numbers_are_the_numbers_of_the_classes(tmp_path):
    write(tmp_path, "train", [1, 0, 1])
    task = table(tmp_path)
    named = class_names.renumbered(task, ("toxic", "clean"))
    assert named.label_names == ("toxic", "clean")
    assert named.labels("train").tolist() == [1, 0, 1]
    assert class_names.renumbered(task, ("a", "b", "c")) is None
    assert class_names.renumbered(task, ("1", "0")).labels("train").tolist() == [0, 1, 0]


def test_given_names_need_no_labels_and_no_training_split(tmp_path):
    write(tmp_path, "test", ["pos", "pos"])
    task = table(tmp_path, label_names=("pos", "neg"))
    assert task.labels("test").tolist() == [0, 0] and task.positive_class == "pos"
    write(tmp_path, "test", [1, 2], column="other")
    assert table(tmp_path, label_names=("pos", "neg")).split("test").labels is None
    assert table(tmp_path, regression=True, label_names=()).split("test").labels is None
    write(tmp_path, "test", ["pos", "odd"])
    with pytest.raises(ValueError, match="is 'odd' in row 1; allowed are pos, neg"):
        table(tmp_path, label_names=("pos", "neg"))
    with pytest.raises(FileNotFoundError, match="includes train"):
        table(tmp_path)


def test_a_permuted_checkpoint_of_glue(tmp_path):
    rows = [json.dumps({"sentence1": "a", "sentence2": "b", "label": y}) for y in (0, 1, 1)]
    (tmp_path / "validation.jsonl").write_text("\n".join(rows))
    rows = [json.dumps({"sentence1": "a", "sentence2": "b", "label": -1})]
    (tmp_path / "test.jsonl").write_text("\n".join(rows))
    task = glue.load("mrpc", tokenizer(), tmp_path, test=True)
    turned = class_names.renumbered(task, ("EQUIVALENT", "NOT-EQUIVALENT"))
    assert turned.label_names == ("equivalent", "not_equivalent")
    assert turned.labels("validation").tolist() == [1, 0, 0]
    assert task.positive_class == turned.positive_class == "equivalent"
    one, other = np.array([0, 0, 1]), np.array([1, 1, 0])
    labels = task.labels("validation")
    assert turned.score(other, turned.labels("validation")) == task.score(one, labels)
    # The server keeps its own numbers.
    path = predictions.write_submission(tmp_path, turned, "test", np.array([0]))
    assert path.read_text().splitlines() == ["index\tprediction", "0\t1"]


def test_probabilities(tmp_path):
    write(tmp_path, "train", ["neg", "pos"])
    task = table(tmp_path)
    shares = task.probabilities(np.array([[0, np.log(3)], [1000, 0]], np.float32))
    np.testing.assert_allclose(shares, [[0.25, 0.75], [1, 0]], atol=1e-7)
    path = predictions.write(tmp_path / "p.csv", task, "train", np.array([1, 0]), shares)
    head, first, _ = path.read_text().splitlines()
    assert head == "index,prediction,label,prob_neg,prob_pos"
    assert first.split(",")[:3] == ["0", "pos", "neg"]
    assert float(first.split(",")[4]) == shares[0, 1]


def test_other_metrics_count_no_class(tmp_path):
    write(tmp_path, "train", ["a", "b", "c"])
    task = table(tmp_path)
    assert task.positive is None and task.positive_class is None
    assert dataclasses.replace(task, metrics=("accuracy", "f1")).positive == 1
