"""Claims that several processes share."""

import dataclasses
import multiprocessing
import time

import numpy as np
import pytest

from launch.evidence.rows import EACH, checked, processes
from linear_theory import registry


def test_several_processes_give_the_rows_of_one_and_name_what_failed():
    claim = registry()["cascade.theorem_3"]
    unknown = dataclasses.replace(claim, name="cascade.theorem_33")
    before = set(multiprocessing.active_children())
    (alone,) = checked([claim], seed=3, trials=4, jobs=1)
    shared = checked([claim, unknown], seed=3, trials=4, jobs=2)
    row = next(shared)
    assert row[:5] == alone[:5]
    np.testing.assert_allclose(row[5:8], alone[5:8], rtol=1e-6)
    with pytest.raises(RuntimeError, match=r"claim .*_33 could not be checked"):
        next(shared)
    end = time.monotonic() + 60  # the system takes its time with one that was just starting
    while set(multiprocessing.active_children()) - before:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_short_table_is_not_shared():
    assert processes(1) == processes(2 * EACH - 1) == 1
    assert 1 <= processes(10_000) <= multiprocessing.cpu_count()
