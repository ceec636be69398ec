"""Which rows are in which batch: a pure function of (seed, step), so resume needs no iterator.

n is the number of rows, b the batch size. An epoch is ceil(n / b) steps and visits every row once;
its last batch is filled up with repeated rows of weight 0, so that every batch has b rows.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from rankwise import checks


class Rows(NamedTuple):
    """One batch as row numbers.

    Attributes:
      indices: int64, shape (b,).
      weight: float32, shape (b,), 1 for a row of the batch and 0 for one that only fills it up.
    """

    indices: np.ndarray
    weight: np.ndarray


def steps_per_epoch(size: int, batch_size: int) -> int:
    """ceil(size / batch_size): 115 for MRPC's 3668 rows at batch size 32.

    Raises:
      ValueError: a size or a batch size below 1.
    """
    size = checks.integer("size", size, 1)
    return -(-size // checks.integer("batch_size", batch_size, 1))


def even_size(size: int, batch_size: int, devices: int = 1) -> int:
    """Rows per batch where ceil(size / batch_size) batches are alike: few rows only fill up.

    A multiple of `devices`, and of 8 where that leaves it at most `batch_size`: the products of a
    few rows more cost nothing, and splits of like sizes share a program.

    Raises:
      ValueError: a size or a batch size below 1.

    Example:
      >>> even_size(20, 128), even_size(130, 128), even_size(20, 16), even_size(5, 4)
      (24, 72, 16, 4)
    """
    share = -(-size // steps_per_epoch(size, batch_size))
    multiple = math.lcm(8, devices)
    return min(-(-share // multiple) * multiple, batch_size)


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """default_rng((seed, epoch)).permutation(size), read-only: (size,)."""
    order = np.random.default_rng((seed, epoch)).permutation(size)
    order.flags.writeable = False
    return order


def shuffled(
    size: int,
    batch_size: int,
    seed: int,
    step: int,
    lengths: np.ndarray | None = None,
    window: int = 1,
) -> Rows:
    """Batch `step` of an endless run over shuffled epochs.

    With window w > 1 and the rows' lengths, the rows of w consecutive batches are sorted by length
    and dealt out to these w batches in a random order: less padding, the same epochs.

    Raises:
      ValueError: a size, batch size or window below 1, a negative seed or step.

    Example:
      >>> shuffled(5, 4, seed=0, step=1).weight.tolist()
      [1.0, 0.0, 0.0, 0.0]
    """
    steps = steps_per_epoch(size, batch_size)
    seed = checks.integer("seed", seed, 0)
    epoch, batch = divmod(checks.integer("step", step, 0), steps)
    order = permutation(seed, epoch, size)
    if lengths is not None and checks.integer("window", window, 1) > 1:
        number, place = divmod(batch, window)
        part = order[number * window * batch_size : (number + 1) * window * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        # Otherwise every window would begin with its short rows.
        # number + 1: (seed, epoch, 0) and (seed, epoch) are the same stream.
        deal = np.random.default_rng((seed, epoch, number + 1))
        batch = deal.permutation(steps_per_epoch(len(part), batch_size))[place]
        order = part
    return _filled(order[batch * batch_size : (batch + 1) * batch_size], batch_size)


def in_order(size: int, batch_size: int, step: int) -> Rows:
    """Batch `step` of one pass through the rows as they lie.

    Raises:
      ValueError: a size or batch size below 1, or a step past the end.

    Example:
      >>> in_order(5, 4, 0).indices.tolist()
      [0, 1, 2, 3]
    """
    steps = steps_per_epoch(size, batch_size)
    step = checks.integer("step", step, 0, steps - 1)
    return _filled(np.arange(step * batch_size, min((step + 1) * batch_size, size)), batch_size)


def _filled(chosen: np.ndarray, batch_size: int) -> Rows:
    # A repeated row, not zeros: an attention mask without a single one would make NaN, and
    # 0 * NaN in the loss is NaN.
    missing = batch_size - len(chosen)
    indices = np.concatenate([chosen, np.repeat(chosen[:1], missing)])
    weight = np.concatenate([np.ones(len(chosen)), np.zeros(missing)])
    return Rows(indices.astype(np.int64), weight.astype(np.float32))
