"""The reference implementation, where it is installed."""

import warnings

import pytest


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch", reason="parity with PyTorch needs torch, for this test only")
    with warnings.catch_warnings():
        # Deprecations inside torch and transformers are theirs.
        warnings.simplefilter("ignore")
        import torch
        import transformers

        torch.set_num_threads(1)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        yield transformers
