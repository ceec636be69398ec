"""How much a choice of ranks can bring over the same rank everywhere, before any is made.

Legend: D_p the change of map p by training all of it, s_p its singular values. A method that adapts
ranks can hold at most the largest s_pi of all maps together; equal ranks hold the first of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rankwise import checks
from rankwise.best_ranks import best_ranks

Values = Mapping[str, np.ndarray]


class Headroom(NamedTuple):
    """What components can hold of changes, as shares of sum_p ||D_p||_F^2.

    Attributes:
      equal: by the same number in every map.
      best: by as many in all, dealt out for the largest share.
      ranks: path -> rank of the best.
    """

    equal: float
    best: float
    ranks: dict[str, int]

    @property
    def left(self) -> float:
        """What the best choice leaves over, in units of what equal ranks leave; 1: nothing gained.

        Of changes whose rank is small this is near 0 and ranks matter; where the tails are long
        it is near 1, however uneven the first values are.
        """
        return (1 - self.best) / (1 - self.equal) if self.equal < 1 else 1.0


def held(values: Values, ranks: Mapping[str, int]) -> float:
    """sum_p sum_{i <= r_p} s_pi^2 over sum_p sum_i s_pi^2.

    Args:
      values: path -> all singular values of its change, descending; at least one is above 0. Of a
        tuned model they are in what `launch.adapter extract --rank=exact` leaves, and `inspect`
        prints the table of them.
      ranks: path -> rank, 0 where a path is not named.

    Raises:
      ValueError: a path without values, a negative rank, changes that are all zero or not finite.

    Example:
      >>> held({"key": np.array([2.0, 1.0]), "value": np.array([1.0])}, {"key": 1})
      0.6666666666666666
    """
    for path, rank in ranks.items():
        if path not in values:
            raise ValueError(f"ranks names {path!r}; allowed are paths of values")
        checks.integer(f"rank of {path}", rank, 0)
    total = sum(float(np.sum(np.square(own))) for own in values.values())
    if not 0 < total < np.inf:  # NaN too
        raise ValueError(f"squares of values add up to {total:g}; allowed is a number above 0")
    kept = (np.sum(np.square(own[: ranks.get(path, 0)])) for path, own in values.items())
    return float(sum(kept)) / total


def headroom(values: Values, rank: int) -> Headroom:
    """What a choice of ranks can bring, with rank x len(values) components in all.

    Args:
      values: as in `held`.
      rank: of equal ranks, at least 1.

    Raises:
      ValueError: a rank below 1, or what `held` refuses.

    Example:
      >>> room = headroom({"key": np.array([3.0, 3.0]), "value": np.array([1.0, 1.0])}, 1)
      >>> room.equal, room.best, room.ranks
      (0.5, 0.9, {'key': 2, 'value': 0})
      >>> round(room.left, 6)
      0.2
    """
    rank = checks.integer("rank", rank, 1)
    paths = list(values)
    equal = held(values, dict.fromkeys(paths, rank))
    counts = best_ranks([values[path] for path in paths], rank * len(paths))
    best = {path: int(count) for path, count in zip(paths, counts, strict=True)}
    return Headroom(equal, held(values, best), best)
