"""A saved folder loads here with the same bits, and in transformers with the same logits."""

import dataclasses
import json
import warnings

import jax
import numpy as np
import pytest

from finetune.models import load
from finetune.weights.saving import save, state_dict
from tests.finetune.models.tiny import CONFIGS, MLP_CONFIG, batch, model_of, random_model, run

KEY = jax.random.key(0)
ALL = {**CONFIGS, "mlp": MLP_CONFIG}


@pytest.mark.parametrize("kind", ALL)
def test_round_trip(kind, tmp_path):
    config = dataclasses.replace(ALL[kind], pooling="mean")
    model = random_model(config)
    save(tmp_path / "new" / "folder", model)
    read, again = load(tmp_path / "new" / "folder", labels=3, key=KEY)
    assert read == config
    assert again.fresh == ()
    for name, array in state_dict(model).items():
        np.testing.assert_array_equal(state_dict(again)[name], array)


def test_the_architectures_own_pooling_is_not_written(tmp_path):
    save(tmp_path, random_model(CONFIGS["deberta-v2"]))
    written = json.loads((tmp_path / "config.json").read_text())
    assert "pooling" not in written
    assert written["architectures"] == ["DebertaV2ForSequenceClassification"]
    assert written["relative_attention"] is True
    assert written["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        save(tmp_path / "file", random_model(MLP_CONFIG))


@pytest.mark.parametrize("kind", CONFIGS)
def test_transformers_reads_it(kind, tmp_path):
    pytest.importorskip("torch", reason="loading in transformers needs torch")
    model, inputs = model_of(kind), batch()
    save(tmp_path, model)
    with warnings.catch_warnings():
        # Deprecations inside torch and transformers are theirs.
        warnings.simplefilter("ignore")
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        reference = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
        fed = {k: torch.tensor(v).long() for k, v in inputs.items()}
        if kind == "distilbert":
            del fed["token_type_ids"]
        with torch.no_grad():
            expected = reference.eval()(**fed).logits.numpy()
    assert np.abs(run(model, inputs).logits - expected).max() < 2e-5
