"""Class names are a fact of a run: through training, scoring and both exports, and back."""

import csv
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from finetune.training import adapter_files
from tests.launch.commands import command
from tests.launch.texts import made

SMALL = ["--method=lora", "--rank=2", "--steps=2", "--batch_size=4"]


def renamed(folder, names):
    """Gives the base's classes names."""
    path = folder / "base" / "config.json"
    raw = json.loads(path.read_text())
    raw["id2label"] = {str(number): name for number, name in enumerate(names)}
    raw["label2id"] = {name: number for number, name in enumerate(names)}
    path.write_text(json.dumps(raw))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on labels a and b from a checkpoint that numbers them the other way round."""
    folder = tmp_path_factory.mktemp("names")
    flags = made(folder, layers=1)
    renamed(folder, ("B", "A"))
    assert command("train", *flags, *SMALL, f"--workdir={folder}/run") == 0
    return folder, flags


@pytest.fixture(scope="module")
def exported(run):
    folder, _ = run
    for form in ("peft", "merged"):
        flags = [f"--workdir={folder}/run", f"--format={form}", f"--output={folder}/{form}"]
        assert command("export", *flags) == 0
    return folder


def record(path):
    return json.loads(path.read_text())


def test_the_run_keeps_them(run, capsys):
    folder, _ = run
    result = record(folder / "run" / "result.json")
    assert result["classes"] == ["b", "a"] and result["positive_class"] == "b"
    assert adapter_files.load(folder / "run" / "adapter.safetensors").about["classes"] == ["b", "a"]
    flags = [f"--workdir={folder}/run", f"--json={folder}/one.json"]
    assert command("evaluate", *flags) == 0
    assert record(folder / "one.json")["scores"] == result["scores"]
    assert "F1 is of the class 'b'." in capsys.readouterr().out


def test_new_rows_without_labels(run, capsys):
    folder, _ = run
    with (folder / "data.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    (folder / "new").mkdir()
    (folder / "new" / "test.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
    flags = [f"--workdir={folder}/run", f"--data_dir={folder}/new", "--split=test"]
    result = folder / "new.csv"
    assert command("evaluate", *flags, f"--predictions={result}", "--probabilities") == 0
    with result.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(texts)
    for row in rows:
        shares = {name: float(row[f"prob_{name}"]) for name in "ab"}
        assert row["prediction"] == max(shares, key=shares.get)
        assert sum(shares.values()) == pytest.approx(1)
    assert command("evaluate", *flags, "--probabilities") == 2
    assert "--predictions" in capsys.readouterr().err


def test_an_adapter_of_peft_brings_them(exported, run, capsys):
    folder, flags = run
    assert record(folder / "peft" / "config.json")["id2label"] == {"0": "b", "1": "a"}
    card = (folder / "peft" / "README.md").read_text()
    assert "classes: 0 b, 1 a" in card and "config=config" in card
    renamed(folder, ("LABEL_0", "LABEL_1"))
    try:
        scored = [f"--adapter={folder}/peft", f"--json={folder}/two.json"]
        assert command("evaluate", *scored, *flags) == 0
        capsys.readouterr()
        other = folder / "other.csv"
        other.write_text((folder / "data.csv").read_text().replace(",a", ",good"))
        assert command("evaluate", *scored, *flags, f"--data_dir={other}") == 2
    finally:
        renamed(folder, ("B", "A"))
    assert record(folder / "two.json")["scores"] == record(folder / "run" / "result.json")["scores"]
    err = capsys.readouterr().err
    assert "is 'good' in row 0; allowed are b, a" in err and err.count("\n") == 1


@pytest.mark.thorough  # an adapter brings them above
def test_training_goes_on_from_a_merged_model(exported, run, capsys):
    folder, flags = run
    assert record(folder / "merged" / "config.json")["label2id"] == {"b": 0, "a": 1}
    assert "classes: 0 b, 1 a" in (folder / "merged" / "README.md").read_text()
    assert (folder / "merged" / "tokenizer.json").is_file()
    more = [*flags, *SMALL, f"--model={folder}/merged", f"--workdir={folder}/more"]
    assert command("train", *more) == 0
    result = record(folder / "more" / "result.json")
    assert result["classes"] == ["b", "a"] and result["drawn"] == []


def test_a_checkpoint_of_other_classes_is_said(tmp_path, capsys):
    flags = made(tmp_path, layers=1)
    renamed(tmp_path, ("spam", "ham"))
    assert command("train", *flags, *SMALL, f"--workdir={tmp_path}/run") == 0
    note = record(tmp_path / "run" / "result.json")["note"]
    assert "names its classes spam, ham, the data a, b" in note
    assert command("export", f"--workdir={tmp_path}/run", f"--output={tmp_path}/x") == 0
    (tmp_path / "x" / "config.json").unlink()
    capsys.readouterr()
    assert command("evaluate", f"--adapter={tmp_path}/x", *flags) == 2
    err = capsys.readouterr().err
    assert "allowed are spam, ham" in err and err.count("\n") == 1


@pytest.mark.thorough  # pooling: models/test_modules.py, files: peft/test_export.py
def test_the_mean_of_the_tokens(tmp_path, capsys):
    flags = [*made(tmp_path, layers=1), "--pooling=mean", *SMALL, f"--workdir={tmp_path}/run"]
    assert command("train", *flags) == 0
    assert capsys.readouterr().out.startswith("Note: transformers has no classifier on the mean")
    write = [f"--workdir={tmp_path}/run", f"--output={tmp_path}/x"]
    assert command("export", *write) == 2
    assert "pooling is 'mean'" in capsys.readouterr().err
    assert command("export", *write, "--format=merged") == 0
    assert "head.safetensors" in capsys.readouterr().out
    tensors, head = (load_file(tmp_path / "x" / f"{n}.safetensors") for n in ("model", "head"))
    raw = record(tmp_path / "x" / "config.json")
    assert raw["architectures"] == ["BertModel"] and raw["pooling"] == "mean"
    assert set(head) == {"classifier.weight", "classifier.bias"}
    assert "embeddings.word_embeddings.weight" in tensors
    own = adapter_files.load(tmp_path / "run" / "adapter.safetensors")
    np.testing.assert_array_equal(head["classifier.weight"], own.head["classifier.weight"].T)
    query = "encoder.layer.0.attention.self.query"
    change = own.modules[f"bert.{query}"]
    base = load_file(tmp_path / "base" / "model.safetensors")[f"bert.{query}.weight"]
    expected = base + (change.a @ change.b).T
    np.testing.assert_allclose(tensors[f"{query}.weight"], expected, atol=1e-6)
    again = ["train", *flags[:-1], f"--model={tmp_path}/x"]
    assert command(*again) == 0
    assert "Drawn at random, not read: classifier.bias" in capsys.readouterr().out
