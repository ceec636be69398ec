import csv
import dataclasses
import json

import numpy as np
import pytest

from finetune.tasks import Split, Task, glue, predictions

N = 4


def task(name: str, splits=("test",), labels=None) -> Task:
    spec = glue.GLUE[name]
    rows = {split: Split({"x": np.arange(N)}, labels) for split in splits}
    return Task(name, rows, spec.label_names, spec.metrics, lambda inputs, indices: {})


def test_csv(tmp_path):
    made = task("rte", ("validation",), np.array([0, 1, 1, 0], np.int32))
    path = predictions.write(tmp_path / "new" / "p.csv", made, "validation", [0, 0, 1, 1])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[1] == {"index": "1", "prediction": "entailment", "label": "not_entailment"}
    assert [file.name for file in path.parent.iterdir()] == ["p.csv"]


def test_jsonl_of_numbers(tmp_path):
    path = predictions.write(
        tmp_path / "p.jsonl", task("stsb"), "test", np.array([0.1, 2, 5.5, -1], np.float32)
    )
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[1] == {"index": 1, "prediction": 2.0}
    assert rows[0]["prediction"] == np.float32(0.1)


@pytest.mark.parametrize(
    ("name", "split", "file", "values", "column"),
    [
        ("cola", "test", "CoLA.tsv", [0, 1, 1, 0], "0 1 1 0"),
        ("sst2", "test", "SST-2.tsv", [0, 1, 1, 0], "0 1 1 0"),
        ("mrpc", "test", "MRPC.tsv", [0, 1, 1, 0], "0 1 1 0"),
        ("qqp", "test", "QQP.tsv", [0, 1, 1, 0], "0 1 1 0"),
        ("stsb", "test", "STS-B.tsv", [-0.2, 1.23456, 5, 7.0], "0.000 1.235 5.000 5.000"),
        (
            "mnli",
            "test_matched",
            "MNLI-m.tsv",
            [0, 1, 2, 0],
            "entailment neutral contradiction entailment",
        ),
        ("mnli", "test_mismatched", "MNLI-mm.tsv", [2, 2, 2, 2], " ".join(["contradiction"] * 4)),
        (
            "qnli",
            "test",
            "QNLI.tsv",
            [0, 1, 0, 0],
            "entailment not_entailment entailment entailment",
        ),
        ("rte", "test", "RTE.tsv", [1, 1, 1, 0], "not_entailment " * 3 + "entailment"),
    ],
)
def test_submissions(tmp_path, name, split, file, values, column):
    path = predictions.write_submission(tmp_path, task(name, (split,)), split, np.array(values))
    assert path.name == file
    lines = path.read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert lines[1:] == [f"{i}\t{value}" for i, value in enumerate(column.split())]
    assert path.read_bytes().endswith(b"\n") and b"\r" not in path.read_bytes()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda p: predictions.write(p / "p.txt", task("rte"), "test", [0] * N),
            "allowed suffixes",
        ),
        (lambda p: predictions.write(p / "p.csv", task("rte"), "dev", [0] * N), "split is 'dev'"),
        (
            lambda p: predictions.write(p / "p.csv", task("rte"), "test", [0]),
            r"shape \(1,\); allowed",
        ),
        (
            lambda p: predictions.write(p / "p.csv", task("rte"), "test", [2] * N),
            "values from 2 to 2",
        ),
        (lambda p: predictions.write(p / "p.csv", task("rte"), "test", [0.0] * N), "dtype float64"),
        (
            lambda p: predictions.write(p / "p.csv", task("stsb"), "test", [np.nan] * N),
            "contains NaN",
        ),
        (
            lambda p: predictions.write_submission(
                p, task("rte", ("validation",)), "validation", [0] * N
            ),
            "split is 'validation'; allowed are 'test'",
        ),
        (
            lambda p: predictions.write_submission(p, task("mnli"), "test", [0] * N),
            "split is 'test'; allowed are 'test_matched', 'test_mismatched'",
        ),
    ],
)
def test_refused(tmp_path, write, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_glue_tasks_can_be_submitted(tmp_path):
    own = dataclasses.replace(task("rte"), name="table")
    with pytest.raises(ValueError, match="task is 'table'; allowed are 'cola'"):
        predictions.write_submission(tmp_path, own, "test", [0] * N)
