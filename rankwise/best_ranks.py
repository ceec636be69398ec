"""Ranks of several maps of which the largest values of all of them together are the components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_ranks(values: Sequence[np.ndarray], total: int) -> np.ndarray:
    """Of each map, how many of the `total` largest values are its own: what leaves the least over.

    Args:
      values: s_p (k_p,), descending, of each of n maps.

    Returns:
      (n,) int; of equal values the first map's are taken, and a map's earlier ones.

    Source: the best rank-R approximation of the block-diagonal matrix of all maps.

    Example:
      >>> best_ranks([np.array([3.0, 2.0, 1.0]), np.array([2.5])], 3)
      array([2, 1])
    """
    owners = np.repeat(np.arange(len(values)), [len(own) for own in values])
    # Stable, so that of equal values a map's earlier ones come first and ranks are prefixes.
    taken = owners[np.argsort(-np.concatenate(values), kind="stable")[:total]]
    return np.bincount(taken, minlength=len(values))
