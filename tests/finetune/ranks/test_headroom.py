"""The best choice of ranks, against all there are, and what it leaves of what equal ranks leave."""

import itertools

import numpy as np
import pytest

from finetune.ranks.headroom import headroom, held


def made(seed, maps=3, size=4):
    rng = np.random.default_rng(seed)
    return {f"m{i}": np.sort(rng.exponential(size=size))[::-1] for i in range(maps)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_no_choice_of_as_many_components_holds_more(seed, rank):
    values = made(seed)
    room = headroom(values, rank)
    assert sum(room.ranks.values()) == rank * len(values)
    every = itertools.product(range(5), repeat=len(values))
    most = max(
        held(values, dict(zip(values, ranks, strict=True)))
        for ranks in every
        if sum(ranks) == rank * len(values)
    )
    assert room.best == pytest.approx(most, rel=1e-12)
    assert room.equal == pytest.approx(held(values, dict.fromkeys(values, rank)))
    assert room.equal <= room.best + 1e-12 and 0 < room.left <= 1


def test_ranks_matter_where_changes_are_low_rank_and_not_where_tails_are_long():
    low = {"one": np.array([1.0, 1.0, 1.0, 0, 0, 0]), "other": np.array([1.0, 0, 0, 0, 0, 0])}
    assert headroom(low, 2).left == pytest.approx(0, abs=1e-12)
    tail = np.full(20, 0.5)
    long = {path: np.append(values[values > 0], tail) for path, values in low.items()}
    assert headroom(long, 2).left > 0.9


def test_all_components_leave_nothing_to_choose():
    values = made(0)
    room = headroom(values, 4)
    assert (room.equal, room.best, room.left) == pytest.approx((1, 1, 1))
    assert held(values, {}) == 0


@pytest.mark.parametrize(
    ("values", "ranks", "text"),
    [
        ({"a": np.ones(2)}, {"b": 1}, "ranks names 'b'; allowed are paths of values"),
        ({"a": np.ones(2)}, {"a": -1}, "rank of a is -1; allowed are integers >= 0"),
        ({"a": np.zeros(2)}, {"a": 1}, "squares of values add up to 0; allowed"),
        ({"a": np.full(2, np.nan)}, {"a": 1}, "add up to nan"),
    ],
)
def test_what_is_not_a_change_is_refused(values, ranks, text):
    with pytest.raises(ValueError, match=text):
        held(values, ranks)


def test_a_rank_of_zero_is_refused():
    with pytest.raises(ValueError, match="rank is 0; allowed are integers >= 1"):
        headroom(made(0), 0)
