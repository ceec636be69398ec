"""The commands with a base model in a GGUF file: trained, scored, exported, merged."""

import dataclasses
import json

import jax
import pytest

from finetune.models import load
from finetune.tasks.tokens.tokenizer import load_tokenizer
from tests.finetune.models.tiny import LLAMA_CONFIG, random_model
from tests.finetune.tasks.tokens.test_gguf_tokenizers import ENDS, TEMPLATE, byte_pairs, entries
from tests.finetune.weights import gguf_bytes
from tests.launch.commands import command
from tests.launch.texts import made

pytest.importorskip("gguf", reason="GGUF files need the package gguf (the extra of this name)")


def test_from_training_to_a_merged_model(tmp_path):
    backend, path = byte_pairs(), tmp_path / "base.gguf"
    sizes = {"vocab_size": backend.get_vocab_size(), "num_hidden_layers": 1}
    model = random_model(dataclasses.replace(LLAMA_CONFIG, **sizes))
    gguf_bytes.write(path, model, **entries(backend, tokenizer__chat_template=TEMPLATE, **ENDS))
    flags = [flag for flag in made(tmp_path, layers=1) if not flag.startswith("--model=")]
    flags += [f"--model={path}", "--method=lora", "--rank=2", "--steps=2", "--batch_size=4"]
    assert command("train", *flags, "--eval_batch_size=4", f"--workdir={tmp_path}/run") == 0
    for form in ("peft", "merged"):
        where = [f"--workdir={tmp_path}/run", f"--format={form}", f"--output={tmp_path}/{form}"]
        assert command("export", *where) == 0
    about = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(path) and about["revision"] is None
    assert load(tmp_path / "merged", labels=2, key=jax.random.key(0))[1].fresh == ()
    assert load_tokenizer(tmp_path / "merged").chat_template == TEMPLATE
