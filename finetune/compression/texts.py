"""Texts as the blocks of tokens that a network is calibrated and judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from finetune.tasks.tokens.tokenizer import Tokenizer

LENGTHS = (32, 64, 128, 256, 512)  # of batches of an encoder, so that few programs are compiled


class Blocks(NamedTuple):
    """Rows of tokens.

    Attributes:
      ids: (n, L) int32.
      mask: (n, L) int32, 1 for a token and 0 for padding.
    """

    ids: np.ndarray
    mask: np.ndarray

    @property
    def tokens(self) -> int:
        """How many there are, without padding."""
        return int(self.mask.sum())

    @property
    def digest(self) -> str:
        """SHA-256 of rows and masks: two runs on the same texts have the same."""
        shape = repr(self.ids.shape).encode()
        return hashlib.sha256(shape + self.ids.tobytes() + self.mask.tobytes()).hexdigest()

    def halves(self) -> tuple[Blocks, Blocks]:
        """Every other row, and the rest.

        Raises:
          ValueError: a single row.
        """
        if len(self.ids) < 2:
            raise ValueError("there is one row of text; allowed are two or more, to part them")
        return tuple(Blocks(self.ids[i::2], self.mask[i::2]) for i in (0, 1))

    def order(self) -> np.ndarray:
        """Rows (n,) in the order of `batches`: by length."""
        return np.argsort(self.mask.sum(axis=1), kind="stable")

    def batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches of rows of like length, cut to that of LENGTHS; the last one is filled up."""
        order, longest = self.order(), self.ids.shape[1]
        size = min(size, len(order))
        for start in range(0, len(order), size):
            ids, mask = (part[order[start : start + size]] for part in self)
            needed = int(mask.sum(axis=1).max())
            length = next((n for n in LENGTHS if needed <= n < longest), longest)
            missing = ((0, size - len(ids)), (0, 0))
            ids, mask = (np.pad(part[:, :length], missing) for part in (ids, mask))
            yield {"input_ids": ids, "attention_mask": mask}


def blocks(
    tokenizer: Tokenizer, kind: str, texts: Sequence[str], length: int, tokens: int | None = None
) -> Blocks:
    """Blocks of at most `length` tokens each, from the first texts on, at most `tokens` in all.

    For a causal model texts are written one after the other, each with what begins and ends it,
    and cut into blocks without padding. For an encoder every text is a row of its own.

    Args:
      tokenizer: of the model.
      kind: of the model, "causal" or "encoder".
      texts: at least one.
      length: of a block at most; a block of a causal model is shorter only where there is but one.
      tokens: None for all there are.

    Raises:
      ValueError: a model of another kind, texts without two tokens, a tokenizer without a token
        that ends a text.
    """
    if kind == "encoder":
        return _rows(tokenizer, texts, length, tokens)
    if kind != "causal":
        raise ValueError(f"kind is {kind!r}; allowed are 'causal' and 'encoder': no other is done")
    vocabulary = tokenizer.vocabulary
    if vocabulary is None:
        raise ValueError("the tokenizer has no token that ends a text, which a causal model needs")
    stream: list[int] = []
    limit = length * max(tokens // length, 1) if tokens else None
    for start in range(0, len(texts), 256):  # not all of a corpus for its first tokens
        for row in vocabulary.plain(texts[start : start + 256]):
            stream += [*vocabulary.before, *row, vocabulary.end_id] if row else []
        if limit and len(stream) >= limit:
            break
    length = min(length, len(stream))
    if length < 2:
        raise ValueError("calibration is empty; allowed are texts of two tokens or more")
    ids = np.array(stream[: len(stream) // length * length][:limit], np.int32).reshape(-1, length)
    return Blocks(ids, np.ones_like(ids))


def _rows(tokenizer, texts, length, tokens) -> Blocks:
    if not texts:
        raise ValueError("calibration is empty; allowed are one text or more")
    ragged = tokenizer.encode(texts, None, length).ids
    within = np.flatnonzero(np.cumsum(ragged.lengths) <= (tokens or np.inf))
    chosen = ragged[np.arange(max(len(within), 1))]
    longest = int(chosen.lengths.max())
    every = np.arange(len(chosen))
    return Blocks(
        chosen.padded(every, longest, tokenizer.pad_id).astype(np.int32),
        chosen.mask(every, longest).astype(np.int32),
    )
