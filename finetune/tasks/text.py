"""Texts as token ids, padded to a few fixed lengths so that a step compiles a few times only."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from finetune.tasks.splits import Batch, Split
from finetune.tasks.tokens.ragged import Ragged
from finetune.tasks.tokens.tokenizer import Tokenizer
from rankwise import checks

LENGTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512)


def buckets(max_length: int, lengths: Sequence[int] = LENGTHS) -> tuple[int, ...]:
    """The lengths batches are padded to: those of `lengths` below max_length, and max_length.

    Raises:
      ValueError: max_length below 8, or a length below 1.

    Example:
      >>> buckets(100)
      (16, 32, 64, 96, 100)
    """
    # Three special tokens, and at least a few of the text.
    max_length = checks.integer("max_length", max_length, 8)
    below = {checks.integer("lengths", length, 1) for length in lengths}
    return (*sorted(length for length in below if length < max_length), max_length)


def tokenized(
    tokenizer: Tokenizer,
    first: Sequence[str],
    second: Sequence[str] | None,
    labels: np.ndarray | None,
    max_length: int,
) -> Split:
    """A split of n texts or n pairs, cut to max_length tokens (of pairs, the longer text first)."""
    if not len(first):
        return Split({"input_ids": Ragged.from_rows([])}, labels)
    ids, types = tokenizer.encode(first, second, max_length)
    return Split({"input_ids": ids, "token_type_ids": types}, labels)


def collate(lengths: tuple[int, ...], pad_id: int):
    """The function from columns and row numbers to input_ids, attention_mask and token_type_ids.

    All three are int32 (b, L), L the smallest of `lengths` that holds the batch's longest row.

    Example:
      >>> columns = {"input_ids": Ragged.from_rows([[1, 7, 2]]),
      ...            "token_type_ids": Ragged.from_rows([[0, 0, 0]])}
      >>> collate((4, 8), pad_id=0)(columns, np.array([0]))["attention_mask"].tolist()
      [[1, 1, 1, 0]]
    """
    return functools.partial(_collate, lengths, pad_id)


def _collate(
    lengths: tuple[int, ...], pad_id: int, inputs: Mapping[str, Ragged], indices: np.ndarray
) -> Batch:
    ids, types = inputs["input_ids"], inputs["token_type_ids"]
    longest = int((ids.offsets[indices + 1] - ids.offsets[indices]).max())
    length = next(length for length in lengths if length >= longest)
    return {
        "input_ids": ids.padded(indices, length, pad_id),
        "attention_mask": ids.mask(indices, length).astype(np.int32),
        "token_type_ids": types.padded(indices, length, 0),
    }
