"""Batches as row numbers: every epoch is a permutation, and nothing depends on the calls before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.tasks import batches

SIZES = {"size": st.integers(1, 70), "batch_size": st.integers(1, 20)}


def real(rows: batches.Rows) -> list[int]:
    return rows.indices[rows.weight == 1].tolist()


def flat(batches_of_rows) -> list[int]:
    return [index for rows in batches_of_rows for index in real(rows)]


@given(**SIZES, seed=st.integers(0, 2**40), epoch=st.integers(0, 5), window=st.integers(1, 4))
def test_an_epoch_visits_every_row_once(size, batch_size, seed, epoch, window):
    lengths = np.random.default_rng(size).integers(1, 50, size)
    steps = batches.steps_per_epoch(size, batch_size)
    seen = []
    for step in range(epoch * steps, (epoch + 1) * steps):
        rows = batches.shuffled(size, batch_size, seed, step, lengths, window)
        assert rows.indices.shape == rows.weight.shape == (batch_size,)
        assert rows.weight[0] == 1 and rows.weight.dtype == np.float32
        seen += real(rows)
    assert sorted(seen) == list(range(size))


@given(size=st.integers(1, 300), per_device=st.integers(1, 40), devices=st.integers(1, 9))
def test_even_batches_need_no_further_pass_and_fill_up_little(size, per_device, devices):
    most = per_device * devices
    even = batches.even_size(size, most, devices)
    steps = batches.steps_per_epoch(size, most)
    assert 1 <= even <= most and even % devices == 0
    assert batches.steps_per_epoch(size, even) <= steps
    assert even - -(-size // steps) < np.lcm(8, devices)


def test_the_documented_permutation():
    order = np.random.default_rng((7, 2)).permutation(10)
    rows = batches.shuffled(10, 4, seed=7, step=2 * 3 + 1)
    assert rows.indices.tolist() == order[4:8].tolist()


@given(**SIZES, window=st.integers(1, 3), steps=st.lists(st.integers(0, 99), max_size=6))
def test_a_batch_depends_on_seed_and_step_only(size, batch_size, window, steps):
    lengths = np.arange(size) % 7
    expected = {
        step: batches.shuffled(size, batch_size, 3, step, lengths, window) for step in steps
    }
    batches.permutation.cache_clear()
    for step in reversed(steps):
        rows = batches.shuffled(size, batch_size, 3, step, lengths, window)
        assert rows.indices.tolist() == expected[step].indices.tolist()


def test_seeds_and_epochs_differ():
    first = [
        batches.shuffled(50, 50, seed, step).indices.tolist() for seed in (0, 1) for step in (0, 1)
    ]
    assert len({tuple(order) for order in first}) == 4


def test_every_window_is_dealt_anew():
    """One deal for all windows would put the longest rows at the same place of each."""
    lengths = np.arange(400)
    orders = set()
    for start in range(0, 40, 5):
        rows = [batches.shuffled(400, 10, 0, start + i, lengths, 5).indices for i in range(5)]
        orders.add(tuple(np.argsort([lengths[indices].max() for indices in rows]).tolist()))
    assert len(orders) > 4


def test_the_last_batch_is_filled_with_rows_of_weight_zero():
    rows = batches.shuffled(5, 4, seed=0, step=1)
    assert rows.weight.tolist() == [1, 0, 0, 0]
    assert len(set(rows.indices.tolist())) == 1


def test_a_window_pads_less_and_keeps_its_rows():
    lengths = np.random.default_rng(0).integers(1, 100, 320)

    def longest(window):
        rows = [batches.shuffled(320, 16, 0, step, lengths, window) for step in range(20)]
        return sum(lengths[r.indices].max() for r in rows), rows

    plain, loose = longest(1)
    sorted_, tight = longest(5)
    assert sorted_ < 0.7 * plain
    for start in range(0, 20, 5):
        a, b = (flat(rows[start : start + 5]) for rows in (loose, tight))
        assert sorted(a) == sorted(b)
    # Not from short to long in every window.
    firsts = [lengths[tight[start].indices].max() for start in range(0, 20, 5)]
    assert max(firsts) > 20


@given(**SIZES)
def test_in_order(size, batch_size):
    steps = batches.steps_per_epoch(size, batch_size)
    seen = [batches.in_order(size, batch_size, step) for step in range(steps)]
    assert flat(seen) == list(range(size))
    assert all(len(rows.indices) == batch_size for rows in seen)
    with pytest.raises(ValueError, match=f"step is {steps}; allowed are integers from 0 to"):
        batches.in_order(size, batch_size, steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"step": -1}, "step is -1"),
        ({"step": 1.5}, "step is 1.5"),
        ({"window": 0}, "window is 0"),
    ],
)
def test_refused(arguments, message):
    good = {"size": 5, "batch_size": 2, "seed": 0, "step": 0, "lengths": np.ones(5, int)}
    with pytest.raises(ValueError, match=f"{message}; allowed are integers"):
        batches.shuffled(**{**good, **arguments})
