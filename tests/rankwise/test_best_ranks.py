import itertools

import numpy as np

from finetune.ranks.headroom import headroom
from rankwise.best_ranks import best_ranks


def left(values, ranks):
    return sum(np.sum(own[r:] ** 2) for own, r in zip(values, ranks, strict=True))


def test_the_best_ranks_are_those_of_all_choices():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = -np.sort(-(rng.standard_normal((3, 4)) ** 2))
        choices = [c for c in itertools.product(range(5), repeat=3) if sum(c) == 6]
        ranks = best_ranks(values, 6)
        assert left(values, ranks) == min(left(values, choice) for choice in choices)
        room = headroom({str(i): own for i, own in enumerate(values)}, 2)
        assert list(room.ranks.values()) == ranks.tolist()
