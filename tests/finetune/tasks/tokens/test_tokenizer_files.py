"""The files that make a folder's tokenizer, and nothing else of it."""

import huggingface_hub
import pytest

from finetune.tasks.tokens import tokenizer_files


def test_of_a_folder(tmp_path):
    for name in ("vocab.txt", "tokenizer.json", "model.safetensors", "config.json"):
        (tmp_path / name).write_text("")
    result = tokenizer_files.of_model(str(tmp_path))
    assert result == (tmp_path / "tokenizer.json", tmp_path / "vocab.txt")


def test_of_a_name_on_the_hub(tmp_path, monkeypatch):
    asked = {}

    def download(name, **given):
        asked.update(given, name=name)
        return str(tmp_path)

    (tmp_path / "spm.model").write_text("")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert tokenizer_files.of_model("org/model", "main") == (tmp_path / "spm.model",)
    assert asked["name"] == "org/model" and asked["revision"] == "main"
    assert "model.safetensors" not in asked["allow_patterns"]


def test_nowhere(monkeypatch):
    def download(name, **given):
        raise OSError("offline\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ValueError, match=r"tokenizer of 'org/model' cannot be had \(offline\)$"):
        tokenizer_files.of_model("org/model")
