"""Paragraphs cut into overlapping windows, each with the whole question before it.

A row is a question and its paragraph in n tokens, whose first f end where the paragraph's c begin;
the rest follows. With m tokens at most a window has room for m - (n - c) of the paragraph, and the
next one begins `stride` tokens before its end.

Source: Devlin et al. (2019), BERT, and its public code for SQuAD; the windows are those of the
`tokenizers` package (only_second, with overflow).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from finetune.tasks.splits import Batch
from finetune.tasks.squad.files import Question
from finetune.tasks.tokens.pairs import Pair
from finetune.tasks.tokens.ragged import Ragged

Columns = Mapping[str, np.ndarray | Ragged]


class Windows(NamedTuple):
    """w windows of the rows of a split, in the order of the rows.

    Attributes:
      row: whose window it is, int64 (w,).
      start: the first of the paragraph's tokens in it, int64 (w,).
      size: how many there are, int64 (w,).
      lengths: tokens of the whole window, int64 (w,).
    """

    row: np.ndarray
    start: np.ndarray
    size: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


def columns(pairs: Iterable[Pair], questions: Sequence[Question]) -> dict[str, np.ndarray | Ragged]:
    """The inputs of a split.

    Returns:
      input_ids and token_type_ids, Ragged, whole rows; begins and ends, Ragged, the characters of
      the paragraph's tokens; first, int32 (n,), the place of the first of them; and answer, int32
      (n, 2), its first and last token among these, -1 where there is none or none that fits.
    """
    pairs = list(pairs)
    answers = [_tokens_of(q, pair.spans) for q, pair in zip(questions, pairs, strict=True)]
    return {
        "input_ids": Ragged.from_rows(pair.ids for pair in pairs),
        "token_type_ids": Ragged.from_rows(pair.types for pair in pairs),
        "begins": Ragged.from_rows(pair.spans[:, 0] for pair in pairs),
        "ends": Ragged.from_rows(pair.spans[:, 1] for pair in pairs),
        "first": np.array([pair.first for pair in pairs], np.int32),
        "answer": np.array(answers, np.int32).reshape(-1, 2),
    }


def _tokens_of(question: Question, spans: np.ndarray) -> tuple[int, int]:
    """The tokens around the first answer; (-1, -1) where there is none, or none holds a part."""
    if not question.answers or not question.starts or not len(spans):
        return -1, -1
    begin = question.starts[0]
    end = begin + len(question.answers[0])
    first = int(np.searchsorted(spans[:, 0], begin, side="right")) - 1
    last = int(np.searchsorted(spans[:, 1], end, side="left"))
    return (first, last) if 0 <= first <= last < len(spans) else (-1, -1)


def cut(inputs: Columns, max_length: int, stride: int) -> Windows:
    """The windows of all rows.

    Raises:
      ValueError: a question that leaves no room, or a stride that leaves none to go on.
    """
    count, total = inputs["begins"].lengths, inputs["input_ids"].lengths
    room = max_length - (total - count)
    step = room - stride
    # Where the paragraph fits whole, nothing overlaps.
    more = np.where(count > room, -(-(count - room) // np.maximum(step, 1)), 0)
    row = np.repeat(np.arange(len(count)), 1 + more)
    number = np.arange(len(row)) - np.repeat(np.cumsum(1 + more) - (1 + more), 1 + more)
    start = number * step[row]
    size = np.minimum(room[row], count[row] - start)
    return Windows(row, start, size, (total - count)[row] + size)


def require_room(
    inputs: Columns, questions: Sequence[Question], max_length: int, stride: int
) -> None:
    """Refuses lengths with which a question cannot be asked.

    Raises:
      ValueError: a question that leaves its paragraph no room, or none beside the overlap.
    """
    count, total = inputs["begins"].lengths, inputs["input_ids"].lengths
    room = max_length - (total - count)
    tight = int(np.argmin(room))
    if room[tight] < 1:
        raise ValueError(
            f"max_length is {max_length}; allowed with question {questions[tight].id!r} are "
            f"{max_length - room[tight] + 1} or more, as it has no room beside its paragraph"
        )
    tight = int(np.argmin(np.where(count > room, room, max_length)))
    if count[tight] > room[tight] and stride >= room[tight]:
        raise ValueError(
            f"stride is {stride}; allowed with max_length {max_length} are 0 to "
            f"{room[tight] - 1}, below the {room[tight]} tokens of the paragraph that fit beside "
            f"question {questions[tight].id!r}; or use a larger max_length"
        )


def collated(
    inputs: Columns, windows: Windows, chosen: np.ndarray, length: int, pad_id: int
) -> Batch:
    """The windows at `chosen` (b,), filled to `length` L.

    Returns:
      input_ids, attention_mask and token_type_ids, int32 (b, L); first and size, int32 (b,), the
      place of the paragraph's first token and how many there are; labels, int32 (b, 2), the places
      of the answer's first and last token, 0 and 0 where it is not in the window whole.
    """
    row, start, size = windows.row[chosen], windows.start[chosen], windows.size[chosen]
    first = inputs["first"][row].astype(np.int64)
    count = inputs["begins"].lengths[row]
    places = np.arange(length)
    # What the window leaves out lies before and behind it; the rest of the row follows.
    skipped = np.where(places < (first + size)[:, None], start[:, None], (count - size)[:, None])
    source = places + np.where(places < first[:, None], 0, skipped)
    mask = places < windows.lengths[chosen][:, None]
    source = np.where(mask, source + inputs["input_ids"].offsets[row][:, None], 0)
    begin, end = (inputs["answer"][row] - start[:, None]).T
    inside = (inputs["answer"][row, 0] >= 0) & (begin >= 0) & (end < size)
    labels = np.stack([first + begin, first + end], axis=1) * inside[:, None]
    ids, types = (inputs[name].values[source] for name in ("input_ids", "token_type_ids"))
    return {
        "input_ids": np.where(mask, ids, pad_id).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": np.where(mask, types, 0).astype(np.int32),
        "first": first.astype(np.int32),
        "size": size.astype(np.int32),
        "labels": labels.astype(np.int32),
    }


def unmarked(inputs: Columns, windows: Windows) -> np.ndarray:
    """The rows of which no window holds the answer's tokens, bool (n,)."""
    answer = inputs["answer"][windows.row]
    inside = (answer[:, 0] >= windows.start) & (answer[:, 1] < windows.start + windows.size)
    inside &= answer[:, 0] >= 0
    return np.bincount(windows.row, inside, len(inputs["answer"])) == 0
