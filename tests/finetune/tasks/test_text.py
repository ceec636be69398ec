import dataclasses

import jax
import numpy as np
import pytest

from finetune.tasks import Task, text
from finetune.tasks.tokens.tokenizer import from_fast
from tests.finetune.tasks import made

N, B = 90, 2
LENGTHS = (6, 10)


@pytest.fixture(scope="module")
def task() -> Task:
    tokenizer = from_fast(made.backend())
    first, second = made.sentences(N, 0), made.sentences(N, 1, longest=5)
    labels = (np.arange(N) % 2).astype(np.int32)
    lengths = text.buckets(16, LENGTHS)
    splits = {"train": text.tokenized(tokenizer, first, second, labels, 16)}
    return Task("made", splits, ("n", "y"), ("accuracy",), text.collate(lengths, 0), lengths)


def test_buckets():
    assert text.buckets(16, LENGTHS) == (6, 10, 16)
    assert text.buckets(10, LENGTHS) == (6, 10)
    assert text.buckets(8, (64, 32)) == (8,)
    assert text.buckets(128) == (16, 32, 64, 96, 128)
    with pytest.raises(ValueError, match="max_length is 4; allowed are integers >= 8"):
        text.buckets(4)
    with pytest.raises(ValueError, match="lengths is 0; allowed are integers >= 1"):
        text.buckets(16, (0,))


def test_padding_changes_nothing_but_the_length(task):
    rows = task.split("train").inputs["input_ids"]
    for batch in task.in_order("train", B):
        ids, mask, types = (batch[k] for k in ("input_ids", "attention_mask", "token_type_ids"))
        assert ids.dtype == mask.dtype == types.dtype == np.int32
        assert ids.shape == mask.shape == types.shape
        assert ids.shape[1] in task.lengths
        # The smallest length that holds the longest row.
        longest = mask.sum(axis=1).max()
        assert ids.shape[1] == min(length for length in task.lengths if length >= longest)
        assert (ids[mask == 0] == 0).all() and (types[mask == 0] == 0).all()
        # Never a row without a token, also where rows fill the batch.
        assert (mask.sum(axis=1) >= 3).all() and (ids[:, 0] == 2).all()
    together = [
        row[mask == 1]
        for batch in task.in_order("train", B)
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ][:N]
    assert (np.concatenate(together) == rows.values).all()


@pytest.mark.parametrize("window", [1, 4])
def test_compilations_are_bounded_by_the_lengths(task, window):
    task = dataclasses.replace(task, window=window)
    traces = []

    @jax.jit
    def step(batch):
        traces.append(batch["input_ids"].shape)
        return batch["input_ids"].sum()

    for number in range(40):
        step(task.batch("train", 0, number, B))
    assert 1 < len(traces) == len(set(traces)) <= len(task.lengths)
    assert {shape[0] for shape in traces} == {B}


def test_rows_are_cut_at_the_last_length(task):
    lengths = task.split("train").inputs["input_ids"].lengths
    assert lengths.max() == 16


def test_no_rows():
    split = text.tokenized(from_fast(made.backend()), [], None, np.zeros(0, np.int32), 16)
    assert len(split) == 0
