"""Batches come as mappings or as tuples with names."""

import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models.interface import Inputs, pixels, tokens
from tests.finetune.models.tiny import batch


def test_tokens():
    inputs = batch()
    for given in (inputs, Inputs(**inputs), {**inputs, "labels": np.zeros(3)}):
        assert tokens(given) == Inputs(**inputs)
    untyped = {k: inputs[k] for k in ("input_ids", "attention_mask")}
    assert tokens(untyped).token_type_ids is None
    with pytest.raises(KeyError, match="attention_mask"):
        tokens({"input_ids": inputs["input_ids"]})


def test_pixels():
    assert pixels({"pixels": jnp.ones((2, 3, 4, 1)), "labels": None}).shape == (2, 12)
