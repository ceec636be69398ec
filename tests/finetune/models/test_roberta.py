"""RoBERTa: positions, names, checkpoints of language models."""

import jax
import numpy as np
import pytest

from finetune.models import load
from finetune.models.modules import head_modules
from finetune.models.roberta import RobertaConfig
from finetune.training.network import from_module
from finetune.weights import saving
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import ROBERTA, batch, random_model, run

KEY = jax.random.key(0)
CONFIG = RobertaConfig(num_labels=3, **{**ROBERTA, "num_hidden_layers": 1, "pad_token_id": 1})


@pytest.fixture(scope="module")
def model():
    return random_model(CONFIG)


def inputs_of(**sizes):
    """Padding has the id that is no token, 1."""
    inputs = batch(**sizes)
    ids = np.where(inputs["input_ids"] == 1, 2, inputs["input_ids"])
    ids = np.where(inputs["attention_mask"], ids, 1)
    return {"input_ids": ids.astype(np.int32), "attention_mask": inputs["attention_mask"]}


def test_saved_and_read_again(model, transformers, tmp_path):
    import torch

    saving.save(tmp_path, model)
    config, again = load(tmp_path, labels=3, key=KEY)
    assert config == CONFIG and again.fresh == ()
    for name, leaf in named_leaves(model).items():
        np.testing.assert_array_equal(named_leaves(again)[name].value, leaf.value)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    inputs = inputs_of(length=30)
    with torch.no_grad():
        expected = theirs(**{n: torch.tensor(v).long() for n, v in inputs.items()}).logits.numpy()
    assert np.abs(run(model, inputs).logits - expected).max() < 2e-5


def test_a_masked_language_model_brings_no_head(model, tmp_path):
    from safetensors.numpy import load_file, save_file

    saving.save(tmp_path, model)
    file = tmp_path / "model.safetensors"
    tensors = {n: v for n, v in load_file(file).items() if not n.startswith("classifier")}
    more = ("lm_head.bias", "roberta.pooler.dense.bias", "roberta.embeddings.position_ids")
    save_file({**tensors, **{name: np.zeros(16, np.float32) for name in more}}, file)
    _, classifier = load(tmp_path, labels=2, key=KEY)
    heads = {f"classifier.{n}" for n in ("dense", "out_proj")}
    assert {name.rsplit(".", 1)[0] for name in classifier.fresh} == heads
    assert head_modules(classifier) == ("classifier",)
    adapted = from_module(classifier).adapted()
    assert len(adapted) == 6 and not any("classifier" in path for path in adapted)


def test_positions_begin_behind_that_of_padding(model):
    """The first rows of the table, up to padding's, are none of a token's."""
    table = model.roberta.embeddings.position_embeddings.embedding
    inputs, before = inputs_of(), np.asarray(table[...])
    expected = run(model, inputs).logits
    for rows, same in ((slice(0, 2), True), (slice(2, 3), False)):
        changed = before.copy()
        changed[rows, 0] += 1  # not all features: LayerNorm takes their mean off
        other = random_model(CONFIG)
        other.roberta.embeddings.position_embeddings.embedding[...] = changed
        assert np.allclose(run(other, inputs).logits, expected, atol=1e-6) == same


def test_longest_texts(model):
    assert CONFIG.positions == 30
    with pytest.raises(ValueError, match="length 31; allowed is at most 30"):
        run(model, inputs_of(length=31))
    with pytest.raises(ValueError, match="max_position_embeddings is 2; allowed are integers"):
        RobertaConfig(num_labels=3, **{**ROBERTA, "max_position_embeddings": 2, "pad_token_id": 1})
