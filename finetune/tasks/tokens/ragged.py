"""Rows of different lengths in two flat arrays: a split of a million rows is two objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
    """Row i is values[offsets[i] : offsets[i + 1]].

    Attributes:
      values: all rows one after the other, shape (total,).
      offsets: where rows begin, int64, shape (n + 1,), offsets[0] = 0, offsets[n] = total.

    Example:
      >>> Ragged.from_rows([[5, 6], [7]]).padded(np.array([1, 0]), 3, fill=0).tolist()
      [[7, 0, 0], [5, 6, 0]]
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]], dtype=np.int32) -> Ragged:
        """Copies the rows."""
        rows = list(rows)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = (value for row in rows for value in row)
        return cls(np.fromiter(flat, dtype, int(offsets[-1])), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Length of every row, shape (n,)."""
        return np.diff(self.offsets)

    def mask(self, indices: np.ndarray, length: int) -> np.ndarray:
        """True where `padded` holds an entry and False where it holds the fill: (b, length)."""
        count = self.offsets[indices + 1] - self.offsets[indices]
        return np.arange(length) < count[:, None]

    def padded(self, indices: np.ndarray, length: int, fill: int) -> np.ndarray:
        """The rows at `indices` (b,), cut or filled to `length`: (b, length)."""
        mask = self.mask(indices, length)
        out = np.full(mask.shape, fill, self.values.dtype)
        places = self.offsets[indices][:, None] + np.arange(length)
        out[mask] = self.values[places[mask]]
        return out

    def __getitem__(self, indices: np.ndarray) -> Ragged:
        """The rows at `indices` (k,), in that order, as a Ragged of their own."""
        count = self.lengths[indices]
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        shift = np.repeat(self.offsets[indices] - offsets[:-1], count)
        return Ragged(self.values[shift + np.arange(offsets[-1])], offsets)
