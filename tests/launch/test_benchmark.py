"""The command: rows of the promised form; the same loss here and in PyTorch."""

import importlib.util
import json

import pytest

from finetune.models.bert import BertConfig
from finetune.weights import saving
from launch import benchmark
from tests.finetune.models.tiny import BERT, random_model
from tests.launch.commands import command

PARTS = ("torch", "transformers", "peft")
needs_torch = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PARTS),
    reason="torch, transformers and peft are not installed",
)


@pytest.fixture
def folder(tmp_path):
    saving.save(tmp_path / "base", random_model(BertConfig(num_labels=2, **BERT)))
    return tmp_path / "base"


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft, of an attribute of transformers
def test_a_step_beside_peft(folder, tmp_path, capsys):
    path = tmp_path / "rows.json"
    flags = ["--suite=finetune", f"--model={folder}", "--batch_size=3", "--length=6", "--repeats=5"]
    assert command("benchmark", *flags, f"--json={path}") == 0
    (row,) = json.loads(path.read_text())
    assert tuple(row) == benchmark.COLUMNS
    assert row["error_competitor"] < 1e-5
    assert row["ratio"] == pytest.approx(row["seconds_competitor"] / row["seconds_ours"])
    assert "threads" in capsys.readouterr().out


def test_functions_take_turns():
    called = []
    benchmark.alternating([lambda: called.append("a"), lambda: called.append("b")], 5)
    assert called == ["a", "b"] * 5


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--suite=finetune"], "--model is needed"),
        (["--model=x", "--repeats=2"], "repeats"),
        (["--suite=finetune", "--model=/absent"], "/absent"),
    ],
)
def test_mistakes_are_one_line(flags, word, capsys):
    assert command("benchmark", *flags) == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1
