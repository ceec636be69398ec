"""Kernels in parts: whole again when a checkpoint is opened, and refused where a part is wrong."""

import numpy as np
import pytest

from finetune.adapters.method import Factors
from finetune.compression import folders, forms
from finetune.weights import low_rank
from finetune.weights.entries import Entry


def factors(size_in, size_out, rank):
    rng = np.random.default_rng(0)
    return Factors(rng.normal(size=(size_in, rank)), rng.normal(size=(rank, size_out)))


@pytest.mark.parametrize("form", forms.FORMS)
def test_a_checkpoint_holds_the_map(form):
    product = factors(7, 5, 2)
    tensors = folders.stored("fc", product, form, np.float32)
    entries = {n: Entry(t.shape, str(t.dtype), lambda t=t: t) for n, t in tensors.items()}
    whole = low_rank.expanded(entries)
    assert list(whole) == ["fc.weight"] and whole["fc.weight"].shape == (5, 7)
    np.testing.assert_allclose(whole["fc.weight"].read().T, product.a @ product.b, atol=1e-5)


@pytest.mark.parametrize("part", ["fc.pivot.rest", "fc.pivot.order"])
def test_a_part_is_missing(part):
    tensors = folders.stored("fc", factors(7, 5, 2), "pivot", np.float32)
    entries = {n: Entry(t.shape, str(t.dtype), lambda t=t: t) for n, t in tensors.items()}
    del entries[part]
    with pytest.raises(ValueError, match=f"{part} is missing"):
        low_rank.expanded(entries)


def test_an_order_that_is_no_permutation():
    tensors = folders.stored("fc", factors(7, 5, 2), "pivot", np.float32)
    tensors["fc.pivot.order"] = np.zeros(7, np.int32)
    entries = {n: Entry(t.shape, str(t.dtype), lambda t=t: t) for n, t in tensors.items()}
    with pytest.raises(ValueError, match="no permutation"):
        low_rank.expanded(entries)["fc.weight"].read()


@pytest.mark.parametrize("shape", [(7, 3), (7,)])
def test_factors_of_two_ranks(shape):
    tensors = folders.stored("fc", factors(7, 5, 2), "factors", np.float32)
    tensors["fc.low_rank.a"] = np.ones(shape, np.float32)
    entries = {n: Entry(t.shape, str(t.dtype), lambda t=t: t) for n, t in tensors.items()}
    with pytest.raises(ValueError, match="allowed are factors"):
        low_rank.expanded(entries)


@pytest.mark.parametrize("part", ["columns", "rest"])
def test_a_pivot_of_two_sizes(part):
    tensors = folders.stored("fc", factors(7, 5, 2), "pivot", np.float32)
    tensors[f"fc.pivot.{part}"] = np.ones((5, 3), np.float32)
    entries = {n: Entry(t.shape, str(t.dtype), lambda t=t: t) for n, t in tensors.items()}
    with pytest.raises(ValueError, match=r"fc\.pivot has shapes"):
        low_rank.expanded(entries)


def test_other_entries_are_as_they_were():
    entries = {"fc.bias": Entry((2,), "float32", lambda: np.ones(2))}
    assert low_rank.expanded(entries) == entries
    config = {"model_type": "bert", "hidden_size": 4}
    assert low_rank.plain(config) is config
