"""Batches of prompts and answers for the two kinds of language models, numpy throughout.

b rows, L tokens of the inputs, T of the answers; both are padded on the right to the smallest of a
few fixed lengths, so that a step compiles a few times only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from finetune.models.parts.token_parts import IGNORED
from finetune.tasks.batches import Rows
from finetune.tasks.splits import Batch
from finetune.tasks.tokens.ragged import Ragged


def asked(source: Ragged, indices: np.ndarray, pad_id: int, lengths: tuple[int, ...]) -> Batch:
    """The prompts alone: input_ids and attention_mask, int32 (b, L).

    Example:
      >>> asked(Ragged.from_rows([[5, 6]]), np.array([0]), 0, (4,))["input_ids"].tolist()
      [[5, 6, 0, 0]]
    """
    length = fitting(lengths, longest(source, indices))
    return {
        "input_ids": source.padded(indices, length, pad_id),
        "attention_mask": source.mask(indices, length).astype(np.int32),
    }


def encoder_decoder(
    inputs: Mapping[str, Ragged],
    chosen: Rows,
    pad_id: int,
    start_id: int,
    lengths: tuple[int, ...],
    target_lengths: tuple[int, ...],
    room: int = 0,
) -> Batch:
    """Prompts, and answers behind `start_id`.

    Args:
      inputs: "source" and "target".
      room: tokens that an answer of the batch must have at least.

    Returns:
      `asked`, decoder_input_ids and labels, int32 (b, T), where labels[:, t] follows
      decoder_input_ids[:, t], and weight float32 (b,), the tokens of each answer.
    """
    indices, target = chosen.indices, inputs["target"]
    length = fitting(target_lengths, max(longest(target, indices), room))
    labels = target.padded(indices, length, IGNORED)
    start = np.full((len(indices), 1), start_id, np.int32)
    shifted = np.concatenate([start, target.padded(indices, length, pad_id)[:, :-1]], axis=1)
    return {
        **asked(inputs["source"], indices, pad_id, lengths),
        "decoder_input_ids": shifted,
        "labels": labels,
        "weight": (chosen.weight * target.lengths[indices]).astype(np.float32),
    }


def causal(
    inputs: Mapping[str, Ragged],
    chosen: Rows,
    pad_id: int,
    lengths: tuple[int, ...],
    target_lengths: tuple[int, ...],
    room: int = 0,
) -> Batch:
    """Prompts with their answers behind them, as for `encoder_decoder`.

    Returns:
      input_ids, attention_mask and labels, int32 (b, L), L one of `together`, where labels[:, t]
      follows input_ids[:, t] and is `IGNORED` inside the prompt, and weight float32 (b,).
    """
    indices = chosen.indices
    source, target = inputs["source"], inputs["target"]
    first, count = source.lengths[indices], target.lengths[indices]
    # The answer's last token is only foretold, never read.
    needed = int((first + np.maximum(count, room)).max()) - 1
    length = fitting(together(lengths, target_lengths), needed)
    answers = target.padded(indices, longest(target, indices), IGNORED)
    ids = source.padded(indices, length, pad_id)
    labels = np.full_like(ids, IGNORED)
    for row, (start, size) in enumerate(zip(first, count, strict=True)):
        ids[row, start : start + size - 1] = answers[row, : size - 1]
        labels[row, start - 1 : start + size - 1] = answers[row, :size]
    mask = np.arange(length) < (first + count - 1)[:, None]
    return {
        "input_ids": ids,
        "attention_mask": mask.astype(np.int32),
        "labels": labels,
        "weight": (chosen.weight * count).astype(np.float32),
    }


def together(lengths: tuple[int, ...], target_lengths: tuple[int, ...]) -> tuple[int, ...]:
    """What prompts with their answers are padded to: a few lengths, not one for every pair of them.

    Example:
      >>> together((8, 16), (4, 8))
      (4, 8, 16, 19, 23)
    """
    longer = (lengths[-1] + length - 1 for length in target_lengths)
    most = lengths[-1] + target_lengths[-1] - 1
    return tuple(sorted(n for n in {*lengths, *target_lengths, *longer} if n <= most))


def paired(source: Iterable[Sequence[int]], target: Iterable[Sequence[int]]) -> dict[str, Ragged]:
    """The inputs of a `Split` of a `LanguageTask`: token ids of prompts and of their answers."""
    return {"source": Ragged.from_rows(source), "target": Ragged.from_rows(target)}


def require_room(rows: str, source: Sequence[Sequence[int]], max_length: int) -> None:
    """Refuses prompts longer than max_length where none may be left out.

    Args:
      rows: whose prompts they are, for the message.

    Raises:
      ValueError: a longer one.
    """
    needed = max(map(len, source), default=0)
    if needed > max_length:
        raise ValueError(
            f"max_length is {max_length}; allowed with the prompts of {rows} are {needed} or more, "
            "as a cut prompt has no answer"
        )


def longest(rows: Ragged, indices: np.ndarray) -> int:
    """Tokens of the longest of the rows at `indices`."""
    return int(rows.lengths[indices].max())


def fitting(lengths: tuple[int, ...], needed: int) -> int:
    """The smallest of the sorted lengths that holds `needed` tokens."""
    return next(length for length in lengths if length >= needed)
