"""Adapters of models that mark answers: PEFT's task QUESTION_ANS, both ways."""

import dataclasses

import jax
import numpy as np
import pytest

from finetune.peft import Card, export, export_merged, load, merged
from finetune.peft.compatibility import frame
from finetune.peft.config import read_config
from tests.finetune.models.test_modernbert import CONFIG as MODERN
from tests.finetune.models.tiny import CONFIGS, batch, random_model, run
from tests.finetune.peft import made, torch_side

pytestmark = torch_side.QUIET
KINDS = {**CONFIGS, "modernbert": MODERN}
OTHERS = ("distilbert", "deberta-v2")


def pair(torch, model, inputs):
    """Start and end logits; of PEFT's model its base_model, as its own call drops segments."""
    fed = {k: torch.tensor(v).long() for k, v in inputs.items()}
    with torch.no_grad():
        out = model(**fed)
    return np.stack([out.start_logits, out.end_logits], axis=-1)


def problem(kind):
    """A model for spans, changes of its body, and a head."""
    model = random_model(dataclasses.replace(KINDS[kind], num_labels=2, pooling="none"))
    shape, rng = frame(model.config), np.random.default_rng(0)
    body = [path for path in shape.linear if "layer" in path]
    changes = {path: made.factors(rng, shape.linear[path], 2) for path in body}
    names = sorted(name for path in shape.optional for name in shape.within(path))
    sizes = {name: shape.leaves[name].shape for name in names}
    head = {n: rng.normal(size=size).astype(np.float32) for n, size in sizes.items()}
    return model, changes, head


@pytest.mark.parametrize(
    "kind",
    ["bert", "modernbert", *(pytest.param(k, marks=pytest.mark.thorough) for k in OTHERS)],
)
def test_adapters_both_ways(kind, theirs, base, tmp_path):
    torch, transformers, peft = theirs
    model, changes, head = problem(kind)
    inputs = batch()
    if kind != "bert":
        del inputs["token_type_ids"]
    expected = run(merged(model, changes, head), inputs).logits
    base(model)
    auto = transformers.AutoModelForQuestionAnswering
    export(tmp_path / "x", changes, head, model.config, base=str(tmp_path / "base"))
    assert read_config(tmp_path / "x").task_type == "QUESTION_ANS"
    readme = (tmp_path / "x/README.md").read_text()
    assert "AutoModelForQuestionAnswering" in readme and "model.base_model(" in readme
    plain = auto.from_pretrained(tmp_path / "base").eval()
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "x").eval()
    tokens = inputs["attention_mask"] == 1
    got = pair(torch, adapted.base_model, inputs)
    assert np.abs(got - expected)[tokens].max() < torch_side.LOGITS
    adapted.save_pretrained(tmp_path / "again")
    first, second = (load(tmp_path / name, model.config) for name in ("x", "again"))
    jax.tree.map(np.testing.assert_array_equal, first[:2], second[:2])
    jax.tree.map(np.testing.assert_array_equal, first[:2], (dict(sorted(changes.items())), head))
    export_merged(tmp_path / "whole", model, changes, head, base="b", card=Card())
    whole = auto.from_pretrained(tmp_path / "whole").eval()
    assert np.abs(pair(torch, whole, inputs) - expected)[tokens].max() < torch_side.LOGITS


def test_an_adapter_made_by_peft(theirs, base, tmp_path):
    """PEFT saves qa_outputs without being asked."""
    torch, transformers, peft = theirs
    model, *_ = problem("bert")
    base(model)
    plain = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(task_type="QUESTION_ANS", r=2, init_lora_weights=False)
    adapted = peft.get_peft_model(plain, settings).eval()
    adapted.save_pretrained(tmp_path / "x")
    read = load(tmp_path / "x", model.config)
    assert sorted(read.heads) == ["qa_outputs.bias", "qa_outputs.weight"]
    got = run(merged(model, read.adapters, read.heads), batch()).logits
    tokens = batch()["attention_mask"] == 1
    assert np.abs(pair(torch, adapted.base_model, batch()) - got)[tokens].max() < torch_side.LOGITS
