"""What the real PEFT and transformers make of our folders."""

import jax
import numpy as np
import pytest

from finetune.models.bert import BertConfig
from finetune.peft import export, export_merged, load, merged
from finetune.peft.compatibility import frame
from tests.finetune.models.tiny import BERT, batch, random_model, run
from tests.finetune.peft import made, torch_side

logits = torch_side.logits
pytestmark = torch_side.QUIET
LOGITS = torch_side.LOGITS


def check(theirs, base, folder, model, changes, head, inputs):
    """Export, load in PEFT, compare logits and ranks; returns the PEFT model."""
    torch, _, peft = theirs
    export(folder, changes, head, model.config, base=str(folder.parent / "base"))
    expected = run(merged(model, changes, head), inputs).logits
    plain = base(model)
    before = logits(torch, plain, inputs)
    adapted = peft.PeftModel.from_pretrained(plain, folder).eval()
    got = logits(torch, adapted, inputs)
    assert np.abs(expected - before).max() > 0.1
    assert np.abs(got - expected).max() < LOGITS
    same_ranks(peft, adapted, changes)
    return adapted


def same_ranks(peft, adapted, changes):
    """PEFT has our modules, no others, at our ranks and with a scale of one."""
    got = {
        name.removeprefix("base_model.model."): (layer.r["default"], layer.scaling["default"])
        for name, layer in adapted.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    assert got == {path: (c.a.shape[1], 1.0) for path, c in changes.items() if c.a.shape[1]}


@pytest.mark.parametrize(
    ("kind", "extra"),
    [("bert", ()), ("bert", ("bert.pooler",)), ("distilbert", ()), ("deberta-v2", ())],
)
def test_peft_loads_what_we_write(kind, extra, theirs, base, tmp_path):
    model, head = made.model(kind), made.heads(kind, extra)
    check(theirs, base, tmp_path / "x", model, made.adapters(kind), head, batch())


def test_peft_writes_back_the_same_bits(theirs, base, tmp_path):
    kind = "deberta-v2"
    model, changes, head = made.model(kind), made.adapters(kind), made.heads(kind)
    adapted = check(theirs, base, tmp_path / "x", model, changes, head, batch())
    adapted.save_pretrained(tmp_path / "again")
    first, second = (load(tmp_path / name, model.config) for name in ("x", "again"))
    jax.tree.map(np.testing.assert_array_equal, first[:2], second[:2])
    live = {path: change for path, change in sorted(changes.items()) if change.a.shape[1]}
    jax.tree.map(np.testing.assert_array_equal, first[:2], (live, head))


def test_more_modules_than_peft_likes(theirs, base, tmp_path):
    """From 20 modules on PEFT shortens their list to suffixes; those of rank 0 must stay out."""
    peft = theirs[2]
    model = random_model(BertConfig(num_labels=3, **{**BERT, "num_hidden_layers": 4}))
    result = frame(model.config)
    rng = np.random.default_rng(0)
    body = [path for path in result.linear if "layer" in path]
    ranks = [(0, 1, 2, 3, 4, 5, 6)[i % 7] for i in range(len(body))]
    changes = {
        path: made.factors(rng, result.linear[path], rank)
        for path, rank in zip(body, ranks, strict=True)
    }
    assert sum(rank > 0 for rank in ranks) >= 20 and ranks.count(0) > 2
    export(tmp_path / "x", changes, made.heads("bert"), model.config, base="base")
    adapted = peft.PeftModel.from_pretrained(base(model), tmp_path / "x")
    same_ranks(peft, adapted, changes)
    for path, change in changes.items():
        if change.a.shape[1]:
            layer = adapted.get_submodule(f"base_model.model.{path}")
            np.testing.assert_array_equal(layer.lora_A["default"].weight.detach().T, change.a)
            np.testing.assert_array_equal(layer.lora_B["default"].weight.detach().T, change.b)


def test_tables(theirs, base, tmp_path):
    paths = ["bert.embeddings.word_embeddings", "bert.encoder.layer.1.output.dense"]
    changes = made.adapters("bert", ranks=(3, 2), paths=paths)
    check(theirs, base, tmp_path / "x", made.model("bert"), changes, made.heads("bert"), batch())


def test_every_rank_zero(theirs, base, tmp_path):
    changes = made.adapters("bert", ranks=(0,))
    check(theirs, base, tmp_path / "x", made.model("bert"), changes, made.heads("bert"), batch())


def test_without_heads(theirs, base, tmp_path):
    torch, _, peft = theirs
    model, changes = made.model("bert"), made.adapters("bert")
    export(tmp_path / "x", changes, {}, model.config, base="b", task_type=None)
    adapted = peft.PeftModel.from_pretrained(base(model), tmp_path / "x").eval()
    expected = run(merged(model, changes, {}), batch()).logits
    assert np.abs(logits(torch, adapted, batch()) - expected).max() < LOGITS


@pytest.mark.parametrize("kind", ["bert", "distilbert", "deberta-v2"])
def test_transformers_loads_the_merged_model(kind, theirs, tmp_path):
    torch, transformers, _ = theirs
    model, changes, head = made.model(kind), made.adapters(kind), made.heads(kind)
    # A base that was kept in half precision: transformers believes config.json.
    entries = {"torch_dtype": "float16", "pad_token_id": 0}
    export_merged(tmp_path / "x", model, changes, head, base="b", entries=entries)
    read = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "x").eval()
    expected = run(merged(model, changes, head), batch()).logits
    assert np.abs(logits(torch, read, batch()) - expected).max() < LOGITS
