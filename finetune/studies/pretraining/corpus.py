"""Text as bytes, cut into windows: what a small language model is pre-trained on.

The text is a file, the text files and tables below a folder, or, without either, the help texts
that come with Python.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from finetune.tasks.files import sources

PLAIN = (".txt", ".md", ".rst")
VOCABULARY = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Bytes to train on and bytes that are held out, uint8.

    Attributes:
      name: where the text is from, for titles.
    """

    train: np.ndarray
    heldout: np.ndarray
    name: str

    def batch(self, seed: int, step: int, rows: int, length: int) -> dict[str, np.ndarray]:
        """Random windows of the training text, a pure function of (seed, step).

        Returns:
          input_ids, attention_mask and labels (rows, length) int32, weight (rows,) float32; the
          label of a byte is the next one.
        """
        generator = np.random.default_rng((seed, step))
        starts = generator.integers(0, len(self.train) - length, rows)
        return windows(self.train, starts, length)

    def probe(self, rows: int, length: int) -> dict[str, np.ndarray]:
        """Windows at equal distances over the held-out text."""
        starts = np.linspace(0, len(self.heldout) - length - 1, rows).astype(int)
        return windows(self.heldout, starts, length)


def windows(text: np.ndarray, starts: np.ndarray, length: int) -> dict[str, np.ndarray]:
    """The batch of the windows that begin at `starts`.

    Example:
      >>> result = windows(np.arange(9, dtype=np.uint8), np.array([2]), 3)
      >>> result["input_ids"].tolist(), result["labels"].tolist()
      ([[2, 3, 4]], [[3, 4, 5]])
    """
    whole = text[starts[:, None] + np.arange(length + 1)].astype(np.int32)
    return {
        "input_ids": whole[:, :-1],
        "attention_mask": np.ones((len(starts), length), np.int32),
        "labels": whole[:, 1:],
        "weight": np.ones(len(starts), np.float32),
    }


def load(source: str | os.PathLike | None, size: int, heldout: float = 0.1) -> Corpus:
    """The first `size` bytes of a text, the last share of them held out.

    Args:
      source: a file (.txt, .md, .rst, or a .parquet, .csv or .jsonl table, all of whose columns of
        text are read), a folder that is searched for such files in the order of their paths, or
        None for Python's help texts. Texts of a table are a line each.
      size: bytes at most.
      heldout: share of the bytes, from the end; neighbouring texts may repeat each other there.

    Raises:
      FileNotFoundError: no such file or folder, or no text in it.
      ValueError: a table that cannot be read, or fewer than 1000 bytes.

    Example:
      >>> load(None, 5000).train.shape
      (4500,)
    """
    origin = "Python's help texts" if source is None else pathlib.Path(source).name
    texts, content, held = _texts(source), bytearray(), 0
    for text in texts:
        content += text.encode() + b"\n"
        if len(content) >= size:
            break
    if source is not None and not content:
        raise FileNotFoundError(f"{source} has no text; wanted are {', '.join(PLAIN)} or tables")
    if len(content) < 1000:
        raise ValueError(f"{origin} has {len(content)} bytes of text; allowed are 1000 and more")
    data = np.frombuffer(bytes(content[:size]), np.uint8)
    held = int(heldout * len(data))
    return Corpus(data[:-held], data[-held:], origin)


def has_text(folder: str | os.PathLike) -> bool:
    """Whether `load` would find text there."""
    return any(True for _ in _texts(folder))


def _texts(source: str | os.PathLike | None) -> Iterator[str]:
    if source is None:
        from pydoc_data import topics  # part of Python

        yield from topics.topics.values()
        return
    source = pathlib.Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist")
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.suffix in PLAIN:
            yield path.read_text(encoding="utf-8", errors="replace")
        elif path.suffix in sources.SUFFIXES:
            table = sources.read(path)
            for name in table.names:
                column = table.column(name)
                if column and isinstance(column[0], str):
                    yield from (text for text in column if isinstance(text, str))
