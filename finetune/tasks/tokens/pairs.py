"""Two texts in one row: which tokens stay where both are too long, and where each one is read.

The characters of a token are found in the text itself, so that what a model marks can be cut out of
it as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

CHUNK = 512
"""Pairs that are encoded at a time: what a tokenizer says of a token takes much memory."""


class Pair(NamedTuple):
    """A text and a second one in one row, uncut, with all special tokens.

    Attributes:
      ids, types: one per token, int32 (n,); types are the segments, 0 or 1.
      first: place of the second text's first token.
      spans: of each of the second's c tokens the characters [begin, end) that it was read from,
        int32 (c, 2).
    """

    ids: np.ndarray
    types: np.ndarray
    first: int
    spans: np.ndarray


def _pair(ids, types, first: int, spans) -> Pair:
    # At once: as objects of Python the tokens of a data set take gigabytes.
    ids, types, spans = (np.array(part, np.int32) for part in (ids, types, spans))
    return Pair(ids, types, first, spans.reshape(-1, 2))


def of_fast(backend: Any, segments: bool):
    """The function (first, second) -> a `Pair` of each, of a `tokenizers.Tokenizer`.

    Args:
      segments: the second text is segment 1, else 0 as the first.
    """
    from tokenizers import Tokenizer as Backend

    text, spelt_out = backend.to_str(), backend.encode_special_tokens

    def pairs(first: Sequence[str], second: Sequence[str]) -> Iterator[Pair]:
        fast = Backend.from_str(text)
        fast.no_padding()
        fast.no_truncation()
        fast.encode_special_tokens = spelt_out
        both = list(zip(first, second, strict=True))
        for start in range(0, len(both), CHUNK):
            for row in fast.encode_batch(both[start : start + CHUNK]):
                inside = [number == 1 for number in row.sequence_ids]
                begin = inside.index(True) if any(inside) else len(row)
                # Read once: every access makes the whole list.
                spans = row.offsets[begin : begin + sum(inside)]
                yield _pair(row.ids, row.type_ids if segments else [0] * len(row), begin, spans)

    return pairs


def of_sentencepiece(model: Any, layout: Any):
    """The same of a `sentencepiece.SentencePieceProcessor` with a `Layout`."""
    # The name of one function, before and since version 0.2.1.
    pieces = getattr(model, "encode_as_immutable_proto", None) or model.encode_as_proto

    def pairs(first: Sequence[str], second: Sequence[str]) -> Iterator[Pair]:
        for a, b in zip(first, second, strict=True):
            left = [*layout.before, *model.encode(a), *layout.after, *layout.between]
            read = pieces(b).pieces
            ids = [*left, *(piece.id for piece in read), *layout.after]
            before = len(left) - len(layout.between)
            types = [0] * before + [1] * (len(ids) - before)
            yield _pair(ids, types, len(left), _placed(b, [piece.surface for piece in read]))

    return pairs


def _placed(text: str, surfaces: Sequence[str]) -> list[tuple[int, int]]:
    """Where the parts of a text are in it, in their order; some versions count bytes instead."""
    spans, place = [], 0
    for surface in surfaces:
        begin = text.find(surface, place)
        place = begin + len(surface)
        spans.append((begin, place))
    return spans


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each text stay when they are taken from the longer one until both fit.

    Example:
      >>> longest_first(10, 3, 8)
      (5, 3)
    """
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    if first > second:
        return room - short, short
    return short, room - short
