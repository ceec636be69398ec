"""PEFT and transformers, where they are installed."""

import warnings

import pytest

from finetune.weights import saving


@pytest.fixture(scope="module")
def theirs():
    pytest.importorskip("torch", reason="PEFT runs on torch, which only this comparison needs")
    pytest.importorskip("peft", reason="the comparison is with PEFT itself")
    with warnings.catch_warnings():
        # Deprecations inside torch, transformers and PEFT are theirs.
        warnings.simplefilter("ignore")
        import peft
        import torch
        import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers, peft


@pytest.fixture
def base(theirs, tmp_path):
    """A function: our model -> the same one in transformers, through a folder."""
    _, transformers, _ = theirs

    def through(model):
        saving.save(tmp_path / "base", model)
        kind = transformers.AutoModelForSequenceClassification
        return kind.from_pretrained(tmp_path / "base").eval()

    return through
