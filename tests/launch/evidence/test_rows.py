"""Claims that several processes share."""

import dataclasses
import multiprocessing
import time

import numpy as np
import pytest

from launch.evidence.rows import EACH, Turns, checked, processes
from linear_theory import registry


def test_several_processes_give_the_rows_of_one_and_name_what_failed():
    claim = registry()["cascade.theorem_3"]
    unknown = dataclasses.replace(claim, name="cascade.theorem_33")
    before = set(multiprocessing.active_children())
    (alone,) = checked([claim], seed=3, trials=4, jobs=1)
    shared = checked([claim, unknown, claim], seed=3, trials=4, jobs=2)  # both begin with an end
    row = next(shared)
    assert row[:5] == alone[:5]
    np.testing.assert_allclose(row[5:8], alone[5:8], rtol=1e-6)
    with pytest.raises(RuntimeError, match=r"claim .*_33 could not be checked"):
        list(shared)
    end = time.monotonic() + 60  # the system takes its time with one that was just starting
    while set(multiprocessing.active_children()) - before:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_short_table_is_not_shared():
    assert processes(1) == processes(2 * EACH - 1) == 1
    assert 1 <= processes(10_000) <= multiprocessing.cpu_count()


def test_two_processes_meet_and_each_has_neighbours():
    names = [str(number) for number in range(9)]
    turns, given = Turns(names, 2), ([], [])
    for worker in [0, 1, 1, 0, 1, 1, 1, 0, 1]:
        given[worker].append(turns.next(worker))
    assert given[0] == names[:3] and given[1] == names[:2:-1]
    assert turns.next(0) is None and turns.next(1) is None


@pytest.mark.parametrize("jobs", [1, 3, 8])
def test_every_claim_is_given_out_once(jobs):
    turns = Turns([str(number) for number in range(5)], jobs)
    given = [turns.next(jobs - 1) for _ in range(6)]
    assert sorted(given[:5]) == ["0", "1", "2", "3", "4"] and given[5] is None
