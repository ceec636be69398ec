"""ModernBERT: files of both forms, windows, what is adapted and what is refused."""

import json

import jax
import numpy as np
import pytest

from finetune.models import load
from finetune.models.modernbert import masks
from finetune.models.modernbert_config import ModernBertConfig
from finetune.models.modules import head_modules
from finetune.models.registry import read_config
from finetune.training.network import from_module
from finetune.weights import saving
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import MODERNBERT, batch, random_model, run

KEY = jax.random.key(0)
SIZES = {n: v for n, v in MODERNBERT.items() if not n.endswith("_token_id")}
CONFIG = ModernBertConfig(num_labels=3, **{**SIZES, "num_hidden_layers": 2})
# The entries beside the sizes in the file of ModernBERT-base.
PUBLISHED = {
    "architectures": ["ModernBertForMaskedLM"],
    "classifier_pooling": "mean",
    "cls_token_id": 0,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 50.0,
    "initializer_cutoff_factor": 2.0,
    "layer_norm_eps": 1e-05,
    "local_rope_theta": 20.0,
    "model_type": "modernbert",
    "position_embedding_type": "absolute",
    "sparse_pred_ignore_index": -100,
    "sparse_prediction": False,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def model():
    return random_model(CONFIG)


def write(folder, **changes):
    (folder / "config.json").write_text(json.dumps({**SIZES, **PUBLISHED, **changes}))
    return folder


def test_published_form(tmp_path, caplog):
    config = read_config(write(tmp_path), labels=2)
    assert config.sliding == (False, True, False, True) and config.pooling == "mean"
    assert [config.rope(s).rope_theta for s in (False, True)] == [50.0, 20.0]
    assert caplog.records == []
    assert read_config(write(tmp_path), labels=2, pooling="cls").pooling == "cls"
    one = read_config(write(tmp_path, local_rope_theta=None), labels=2)
    assert one.rope(True).rope_theta == 50.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries; allowed are 4"),
        ({"layer_types": ["linear"] * 4}, "allowed: null or lists of full_attention and"),
        ({"classifier_pooling": "max"}, "pooling is 'max'; allowed: 'cls' or 'mean'"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling is {'type': 'yarn'}; allowed"),
        ({"hidden_size": 12}, "hidden_size is 12; allowed are even multiples of the heads"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}},
            "rope_parameters has 'full_attention' of type 'linear'; allowed are",
        ),
    ],
)
def test_refused_entries(change, words, tmp_path):
    with pytest.raises(ValueError) as error:
        read_config(write(tmp_path, **change), labels=2)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_saved_and_read_again(model, transformers, tmp_path):
    import torch

    saving.save(tmp_path, model)
    _, again = load(tmp_path, labels=3, key=KEY)
    assert again.fresh == ()
    for name, leaf in named_leaves(model).items():
        np.testing.assert_array_equal(named_leaves(again)[name].value, leaf.value)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    inputs = batch()
    fed = {n: torch.tensor(inputs[n]).long() for n in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = theirs(**fed).logits.numpy()
    assert np.abs(run(model, inputs).logits - expected).max() < 2e-5


def test_a_masked_language_model_brings_its_head(model, tmp_path):
    from safetensors.numpy import load_file, save_file

    saving.save(tmp_path, model)
    file = tmp_path / "model.safetensors"
    tensors = {n: v for n, v in load_file(file).items() if not n.startswith("classifier")}
    save_file({**tensors, "decoder.bias": np.zeros(50, np.float32)}, file)
    _, classifier = load(tmp_path, labels=5, key=KEY)
    assert classifier.fresh == ("classifier.bias", "classifier.weight")
    assert head_modules(classifier) == ("classifier",)


def test_what_is_adapted(model):
    paths = {path.split(".", 3)[-1] for path in from_module(model).adapted()}
    assert paths == {"attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"}


def test_windows():
    mask = np.array([[1, 1, 1, 1, 1, 0]])
    read = np.asarray(masks(mask, 3).window_BLM)[0]
    assert read[2].tolist() == [False, True, True, True, False, False]
    assert read[4].tolist() == [False, False, False, True, True, False]


def test_padding_changes_nothing(model):
    inputs = batch()
    longer = {k: np.pad(v, [(0, 0), (0, 4)]) for k, v in inputs.items()}
    longer["input_ids"][:, 9:] = 9
    np.testing.assert_allclose(run(model, longer).logits, run(model, inputs).logits, atol=1e-5)


def test_longer_texts_are_refused(model):
    with pytest.raises(ValueError, match="length 41; allowed is at most 40"):
        run(model, batch(length=41))
