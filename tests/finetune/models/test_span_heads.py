"""Heads of two outputs per token, of transformers' models for extractive question answering."""

import dataclasses

import numpy as np
import pytest

from finetune.models import initialise, load, read_config
from finetune.models.bert import BertConfig
from finetune.models.modules import head_modules
from finetune.models.vit import ViTConfig
from finetune.weights import saving
from tests.finetune.models.test_parity import BOUND, DEBERTA_V3, KEY
from tests.finetune.models.tiny import BERT, DISTILBERT, MODERNBERT, ROBERTA, batch, run

ONE = {"num_hidden_layers": 1}
CASES = {
    "Bert": {**BERT, **ONE},
    "Roberta": {**ROBERTA, **ONE},
    "DistilBert": {**DISTILBERT, "n_layers": 1},
    "DebertaV2": {**DEBERTA_V3, **ONE},
    "ModernBert": {**MODERNBERT, "num_hidden_layers": 2},
}
HEADS = dict.fromkeys(CASES, ("qa_outputs",)) | {"ModernBert": ("classifier",)}


@pytest.mark.parametrize("name", CASES)
def test_start_and_end_logits_both_ways(name, transformers, tmp_path):
    """Theirs read by us, ours written and read by them, with padding."""
    import torch

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**CASES[name])
    reference = getattr(transformers, f"{name}ForQuestionAnswering")(config).eval()
    with torch.no_grad():
        for key, parameter in reference.named_parameters():
            gain = float(key.lower().endswith("norm.weight"))
            parameter.copy_(gain + 0.3 * torch.randn(parameter.shape))
    reference.save_pretrained(tmp_path / "theirs")
    inputs = batch(seed=1)
    inputs["token_type_ids"] *= name in ("Bert", "DebertaV2")
    fed = {k: torch.tensor(v).long() for k, v in inputs.items()}
    if name in ("DistilBert", "ModernBert"):
        del fed["token_type_ids"]
    with torch.no_grad():
        expected = reference(**fed)
    pair = np.stack([expected.start_logits, expected.end_logits], axis=-1)
    tokens = inputs["attention_mask"] == 1
    _, model = load(tmp_path / "theirs", labels=2, key=KEY, pooling="none")
    got = run(model, inputs).logits
    assert model.fresh == () and got.shape == (3, 9, 2) and not tokens.all()
    assert np.abs(got - pair)[tokens].max() < BOUND
    assert head_modules(model) == HEADS[name]
    saving.save(tmp_path / "ours", model)
    auto = transformers.AutoModelForQuestionAnswering
    again, report = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not (report["missing_keys"] or report["unexpected_keys"])
    assert type(again) is type(reference)
    with torch.no_grad():
        ours = again.eval()(**fed)
    again_pair = np.stack([ours.start_logits, ours.end_logits], axis=-1)
    assert np.abs(again_pair - pair)[tokens].max() < BOUND


def test_a_head_for_classes_gives_way_and_stays_what_is_read(tmp_path):
    """A folder of one head is read for the other, whose parameters are new."""
    config = BertConfig(num_labels=2, **BERT)
    spans = dataclasses.replace(config, pooling="none")
    for name, kind in (("classes", config), ("spans", spans)):
        saving.save(tmp_path / name, initialise(kind, KEY))
    fresh = ("qa_outputs.bias", "qa_outputs.weight")
    assert load(tmp_path / "classes", labels=2, key=KEY, pooling="none")[1].fresh == fresh
    assert read_config(tmp_path / "spans", labels=2).pooling == "cls"
    new = ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    _, model = load(tmp_path / "spans", labels=2, key=KEY)
    assert model.fresh == (*new, "classifier.bias", "classifier.weight")


def test_only_encoders_of_text_have_them():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 8, "hidden_act": "gelu", "image_size": 4, "patch_size": 2}
    with pytest.raises(ValueError, match="pooling is 'none'; allowed: 'cls' or 'mean'"):
        ViTConfig(num_labels=2, pooling="none", **sizes)
