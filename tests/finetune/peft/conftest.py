"""PEFT and transformers, where they are installed."""

import warnings

import pytest


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
