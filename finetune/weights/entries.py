"""What the readers of every file format give: named tensors that are read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Entry(NamedTuple):
    """One tensor of a checkpoint, in torch's layout.

    Attributes:
      shape: known without reading the tensor.
      dtype: its name in numpy's terms, 'bfloat16' included.
      read: the numbers, a new array of that shape and dtype.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


class Checkpoint(NamedTuple):
    """The tensors of a model folder, by their names there.

    Attributes:
      source: the file, for messages.
      entries: name -> Entry.
    """

    source: str
    entries: dict[str, Entry]
