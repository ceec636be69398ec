"""Adapters of Llama and T5: what PEFT makes of them, and what is refused."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from finetune.adapters.method import Factors
from finetune.models.initialise import abstract
from finetune.models.llama_config import Qwen2Config, Qwen3Config
from finetune.peft import export, export_merged, load, merged
from finetune.peft.compatibility import frame
from finetune.training.network import from_module
from finetune.weights import saving
from tests.finetune.models.tiny import (
    LLAMA,
    LLAMA_CONFIG,
    T5_CONFIG,
    batch,
    pairs,
    random_model,
    run,
)
from tests.finetune.peft import made

LOGITS = 1e-5
# Few layers: nothing bounds what random layers of T5 sum up, and rounding grows with it.
SMALL = {"num_layers": 1, "num_decoder_layers": 2}
NEWER = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, **SMALL}
TIED = {"tie_word_embeddings": True}
LABELS = {"num_labels": 3}
QWEN3 = Qwen3Config(num_labels=0, head_dim=6, **{**LLAMA, "num_hidden_layers": 1})
QWEN2 = Qwen2Config(num_labels=3, **{**LLAMA, "num_hidden_layers": 1})
CASES = {
    "llama": (LLAMA_CONFIG, {}, "CAUSAL_LM", "AutoModelForCausalLM"),
    "llama tied": (LLAMA_CONFIG, TIED, "CAUSAL_LM", "AutoModelForCausalLM"),
    "llama labels": (LLAMA_CONFIG, LABELS, "SEQ_CLS", "AutoModelForSequenceClassification"),
    "qwen2 labels": (QWEN2, {}, "SEQ_CLS", "AutoModelForSequenceClassification"),
    "qwen3": (QWEN3, {}, "CAUSAL_LM", "AutoModelForCausalLM"),
    "t5": (T5_CONFIG, SMALL, "SEQ_2_SEQ_LM", "AutoModelForSeq2SeqLM"),
    "t5 1.1": (T5_CONFIG, NEWER, "SEQ_2_SEQ_LM", "AutoModelForSeq2SeqLM"),
    "t5 labels": (T5_CONFIG, {**LABELS, **SMALL}, "SEQ_CLS", "AutoModelForSequenceClassification"),
}
# Of the layers of Llama and T5 without labels, of those of both with labels.
FURTHER = ("llama", "llama labels", "llama tied", "qwen2 labels", "t5 1.1", "t5")
AXIS = [
    pytest.param(case, marks=pytest.mark.thorough) if case in FURTHER else case for case in CASES
]
RANKS = (0, 1, 2, 3, 5)

# PEFT 0.21.2 reads a name that transformers 5.23 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@functools.cache
def parts(case):
    """Model, adapters of all ranks, heads, and inputs that both sides read alike."""
    config, changes, *_ = CASES[case]
    model = random_model(dataclasses.replace(config, **changes))
    result, rng = frame(model.config), np.random.default_rng(0)
    shapes = {p: result.linear[p] for p in from_module(abstract(model.config)).adapted()}
    adapters = {
        path: made.factors(rng, shape, RANKS[i % 5])
        for i, (path, shape) in enumerate(shapes.items())
    }
    # Small enough for logits of the size of one.
    adapters = {p: Factors(0.3 * c.a, c.b) for p, c in adapters.items()}
    names = sorted(n for path in result.heads for n in result.within(path))
    heads = {n: made_head(rng, result.leaves[n].shape) for n in names}
    inputs = pairs() if config is T5_CONFIG else batch()
    inputs.pop("token_type_ids", None)
    if config is T5_CONFIG and model.config.num_labels:
        del inputs["decoder_input_ids"]
        inputs["input_ids"] = np.where(inputs["input_ids"] == 1, 3, inputs["input_ids"])
        inputs["input_ids"][np.arange(3), inputs["attention_mask"].sum(1) - 1] = 1
    return model, adapters, heads, inputs


def made_head(rng, shape):
    return (0.3 * rng.normal(size=shape)).astype(np.float32)


def distance(torch, theirs, ours, inputs):
    """Largest difference of the logits, over the tokens that are none of the padding."""
    with torch.no_grad():
        got = theirs(**{k: torch.tensor(v).long() for k, v in inputs.items()}).logits.numpy()
    difference = np.abs(got - ours)
    if got.shape[:2] == inputs["attention_mask"].shape:
        difference = difference[inputs["attention_mask"].astype(bool)]
    return difference.max()


@pytest.mark.parametrize("case", AXIS)
def test_round_trip_through_peft(case, theirs, tmp_path):
    torch, transformers, peft = theirs
    model, adapters, heads, inputs = parts(case)
    _, _, task_type, auto = CASES[case]
    saving.save(tmp_path / "base", model)
    export(tmp_path / "x", adapters, heads, model.config, base=str(tmp_path / "base"))
    raw = json.loads((tmp_path / "x" / "adapter_config.json").read_text())
    assert raw["task_type"] == task_type and auto in (tmp_path / "x" / "README.md").read_text()
    plain = getattr(transformers, auto).from_pretrained(tmp_path / "base").eval()
    before = run(model, inputs).logits
    assert distance(torch, plain, before, inputs) < LOGITS
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "x").eval()
    ranks = {
        name.removeprefix("base_model.model."): layer.r["default"]
        for name, layer in adapted.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    assert ranks == {path: c.a.shape[1] for path, c in adapters.items() if c.a.shape[1]}
    expected = run(merged(model, adapters, heads), inputs).logits
    assert np.abs(expected - before).max() > 0.05
    # Rounding grows with the logits: T5 1.1 does not scale its head by the root of the width, here
    # 4, so its logits are up to 4.7 and those of the others about one.
    assert distance(torch, adapted, expected, inputs) < LOGITS * max(1, np.abs(expected).max())
    adapted.save_pretrained(tmp_path / "again")
    first, second = (load(tmp_path / name, model.config) for name in ("x", "again"))
    jax.tree.map(np.testing.assert_array_equal, first[:2], second[:2])
    unmerged = run(made.with_heads(model, heads), inputs, ops=made.ops(first.adapters)).logits
    np.testing.assert_allclose(unmerged, expected, atol=LOGITS)


@pytest.mark.parametrize("case", AXIS)
def test_transformers_loads_the_merged_model(case, theirs, tmp_path):
    torch, transformers, _ = theirs
    model, adapters, heads, inputs = parts(case)
    auto = CASES[case][3]
    export_merged(tmp_path / "x", model, adapters, heads, base="b", entries={"bos_token_id": 5})
    assert auto in (tmp_path / "x" / "README.md").read_text()
    read = getattr(transformers, auto).from_pretrained(tmp_path / "x").eval()
    expected = run(merged(model, adapters, heads), inputs).logits
    assert distance(torch, read, expected, inputs) < LOGITS


def test_a_tied_table_has_no_adapter(tmp_path):
    for case, path in (("llama tied", "model.embed_tokens"), ("t5", "shared")):
        model, *_ = parts(case)
        shape = frame(model.config).embed[path]
        changes = {path: made.factors(np.random.default_rng(0), shape, 2)}
        with pytest.raises(ValueError, match=f"{path} is a tied table"):
            export(tmp_path / "x", changes, {}, model.config, base="b")
        with pytest.raises(ValueError, match=f"{path} is a tied table"):
            merged(model, changes, {})
