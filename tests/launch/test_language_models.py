"""The commands with decoders as classifiers: trained, exported, merged."""

import jax
import numpy as np
import pytest

from finetune import peft
from finetune.models import load, read_config
from finetune.models.llama_config import LlamaConfig
from finetune.models.t5_config import T5Config
from finetune.training import adapter_files
from finetune.weights import saving
from tests.finetune.models.tiny import LLAMA, T5, random_model, run
from tests.finetune.peft.made import ops, with_heads
from tests.launch.commands import command
from tests.launch.texts import made

# The made tokenizer ends a row with [SEP].
SEP = 3
SMALL = {"num_layers": 1, "num_decoder_layers": 1, "eos_token_id": SEP}
CONFIGS = {
    "llama": LlamaConfig(num_labels=2, **{**LLAMA, "num_hidden_layers": 1}),
    "t5": T5Config(num_labels=2, **{**T5, **SMALL}),
}


# That of a decoder is held for a base in a GGUF file.
@pytest.mark.parametrize("kind", ["llama", pytest.param("t5", marks=pytest.mark.thorough)])
def test_from_training_to_a_merged_model(kind, tmp_path):
    flags = made(tmp_path, layers=1)
    saving.save(tmp_path / "base", random_model(CONFIGS[kind]))
    flags += ["--method=lora", "--rank=2", "--steps=2", "--batch_size=4", "--eval_batch_size=4"]
    flags += ["--remat", "--mesh=shard:2"]
    assert command("train", *flags, f"--workdir={tmp_path}/run") == 0
    own = adapter_files.load(tmp_path / "run/adapter.safetensors")
    heads = {"llama": {"score"}, "t5": {"classification_head"}}
    assert {name.split(".")[0] for name in own.head} == heads[kind]
    for form in ("peft", "merged"):
        where = [f"--workdir={tmp_path}/run", f"--format={form}", f"--output={tmp_path}/{form}"]
        assert command("export", *where) == 0
    got = peft.load(tmp_path / "peft", read_config(tmp_path / "base", labels=2))
    assert got.config.task_type == "SEQ_CLS"
    jax.tree.map(np.testing.assert_array_equal, got.adapters, dict(sorted(own.modules.items())))
    _, base = load(tmp_path / "base", labels=2, key=jax.random.key(0))
    _, joined = load(tmp_path / "merged", labels=2, key=jax.random.key(0))
    inputs = {"input_ids": np.array([[2, 5, SEP]]), "attention_mask": np.ones((1, 3), np.int32)}
    expected = run(with_heads(base, own.head), inputs, ops(own.modules)).logits
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(run(joined, inputs).logits, expected, atol=1e-5)
