"""GLUE's tasks on made files in GLUE's layout, and the published numbers of the real files."""

import itertools
import os

import numpy as np
import pytest

from finetune.tasks import glue, load_tokenizer
from finetune.tasks.files import sources
from finetune.tasks.tokens.tokenizer import from_fast
from tests.finetune.tasks import made

TOKENIZER = from_fast(made.backend())
NAMES = tuple(glue.GLUE)


def columns(name: str, count: int, seed: int = 0) -> dict:
    spec = glue.GLUE[name]
    texts = {column: made.sentences(count, seed + i) for i, column in enumerate(spec.texts)}
    if spec.label_names:
        labels = [i % len(spec.label_names) for i in range(count)]
    else:
        labels = [i % 26 / 5 for i in range(count)]
    return {**texts, "label": labels, "idx": list(range(count))}


def folder(root, name: str, sizes: dict[str, int]):
    for seed, (split, size) in enumerate(sizes.items()):
        path = root / name / f"{split}.parquet"
        made.write_parquet(path, columns(name, size, 10 * seed), glue.GLUE[name].label_names)
    return root


@pytest.mark.parametrize("name", NAMES)
def test_a_task_from_files(tmp_path, name):
    spec = glue.GLUE[name]
    evaluation = "validation_matched" if name == "mnli" else "validation"
    folder(tmp_path, name, {"train": 12, evaluation: 7, "heldout": 3})
    task = glue.load(name, TOKENIZER, tmp_path, max_length=16)
    assert {split: len(rows) for split, rows in task.splits.items()} == {
        "train": 12,
        evaluation: 7,
        "heldout": 3,
    }
    assert task.evaluation == evaluation
    assert task.num_labels == (len(spec.label_names) or 1)
    assert task.metrics == spec.metrics
    assert "heldout is not an official split" in task.note
    assert f"train has 12 of {spec.rows['train']} official rows" in task.note
    batch = task.batch("train", 0, 0, 4)
    assert batch["input_ids"].shape[0] == 4
    assert batch["labels"].dtype == (np.float32 if name == "stsb" else np.int32)
    # Two texts show in the segments.
    assert (batch["token_type_ids"].max() == 1) == (len(spec.texts) == 2)
    labels = task.labels(evaluation)
    assert task.score(labels, labels)[task.metric] == pytest.approx(1)
    inner = glue.load(name, TOKENIZER, tmp_path / name, max_length=16)
    assert inner.batch("train", 0, 0, 4)["input_ids"].tolist() == batch["input_ids"].tolist()


def test_test_splits_on_request(tmp_path):
    folder(tmp_path, "rte", {"train": 6, "validation": 4})
    made.write_parquet(tmp_path / "rte/test.parquet", {**columns("rte", 5), "label": [-1] * 5})
    assert "test" not in glue.load("rte", TOKENIZER, tmp_path).splits
    task = glue.load("rte", TOKENIZER, tmp_path, test=True)
    assert task.split("test").labels is None and task.evaluation == "validation"


def test_from_the_hub(monkeypatch):
    asked = []

    def hub(repository, config, splits):
        asked.append((repository, config))
        return {s: sources.Table(s, columns("mnli", 6), {}) for s in splits}

    monkeypatch.setattr(sources, "from_hub", hub)
    task = glue.load("mnli", TOKENIZER)
    assert asked == [("nyu-mll/glue", "mnli")]
    assert task.evaluation == "validation_matched"


def test_metrics_are_those_glue_reports():
    main = {name: spec.metrics[0] for name, spec in glue.GLUE.items()}
    assert main.pop("cola") == "matthews"
    assert main.pop("stsb") == "pearson_spearman"
    assert set(main.values()) == {"accuracy"}
    assert (
        glue.GLUE["mrpc"].metrics == glue.GLUE["qqp"].metrics == ("accuracy", "f1", "accuracy_f1")
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cola", {"sentence": None}, "column 'sentence' is not in .*; allowed are label, idx"),
        ("rte", {"sentence2": None}, "column 'sentence2' is not in"),
        ("rte", {"label": None}, "column 'label' is not in"),
        ("rte", {"label": [0, 1, 2]}, r"is 2 in row 2; allowed are 0 \(entailment\), 1 \(not_ent"),
        (
            "rte",
            {"label": [-1, -1, -1]},
            "is -1 in all rows; allowed are labels, in all splits but",
        ),
        ("stsb", {"label": [0.0, np.nan, 1.0]}, "is nan in row 1; allowed are numbers from 0 to 5"),
        ("stsb", {"label": [0.0, 5.5, 1.0]}, "is 5.5 in row 1; allowed are numbers from 0 to 5"),
        ("cola", {"sentence": ["a", None, "b"]}, "is None in row 1; allowed are strings"),
        (
            "cola",
            {"sentence": [], "label": [], "idx": []},
            "split 'train' of task 'cola' has 0 rows",
        ),
    ],
)
def test_refused_columns(tmp_path, name, change, message):
    data = {**columns(name, 3), **change}
    data = {column: values for column, values in data.items() if values is not None}
    made.write_parquet(tmp_path / "train.parquet", data)
    with pytest.raises(ValueError, match=message):
        glue.load(name, TOKENIZER, tmp_path)


def test_files_of_another_task_are_refused(tmp_path):
    folder(tmp_path, "sst2", {"train": 3})
    message = "has the classes negative, positive; allowed are unacceptable, acceptable, in this"
    with pytest.raises(ValueError, match=message):
        glue.load("cola", TOKENIZER, tmp_path / "sst2")
    with pytest.raises(
        FileNotFoundError, match="has no data; allowed are files named train, valid"
    ):
        glue.load("cola", TOKENIZER, tmp_path)
    with pytest.raises(ValueError, match="task is 'wnli'; allowed are 'cola', 'sst2'"):
        glue.load("wnli", TOKENIZER, tmp_path)


@pytest.mark.parametrize(
    ("name", "majority"),
    [
        ("cola", {"matthews": 0, "accuracy": 721 / 1043}),
        pytest.param("sst2", {"accuracy": 444 / 872}, marks=pytest.mark.thorough),
        ("mrpc", {"accuracy": 279 / 408, "f1": 558 / 687}),
        ("stsb", {"pearson_spearman": 0}),
        pytest.param("qnli", {"accuracy": 2761 / 5463}, marks=pytest.mark.thorough),
        pytest.param("rte", {"accuracy": 146 / 277}, marks=pytest.mark.thorough),
    ],
)
def test_majority_of_the_development_sets(tmp_path, name, majority):
    (tmp_path / name).mkdir()
    os.symlink(
        made.shared("glue", name, "validation.parquet"), tmp_path / name / "validation.parquet"
    )
    # Labels are measured here, and the smallest vocabulary will do for the texts.
    task = glue.load(name, TOKENIZER, tmp_path, max_length=512)
    assert task.note == ""
    assert {key: task.majority("validation")[key] for key in majority} == pytest.approx(majority)


@pytest.mark.parametrize(
    "tokenizer", ["bert-base-uncased", pytest.param("deberta-v3", marks=pytest.mark.thorough)]
)
def test_a_real_task(tokenizer):
    tokenizer = load_tokenizer(made.shared("tokenizers", tokenizer))
    task = glue.load("rte", tokenizer, made.shared("glue"))
    assert task.note == "" and task.steps("train", 32) == 78
    shapes = {b["input_ids"].shape for b in itertools.islice(task.in_order("train", 32), 30)}
    assert len(shapes) <= len(task.lengths)
    assert task.batch("train", 0, 5, 32)["input_ids"].max() < tokenizer.size
