"""A few rows of a split: which, in what order, and how many are allowed."""

import numpy as np
import pytest

from finetune.tasks import load, subsets


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_few_rows_of_a_split(split):
    task = load("digits")
    fewer = subsets.few(task, "rows", 20, seed=3, split=split)
    index = fewer.split(split).index
    assert len(index) == 20 and (np.diff(index) > 0).all() and index[-1] >= 20
    np.testing.assert_array_equal(fewer.split(split).labels, task.split(split).labels[index])
    (other,) = {"train", "test"} - {split}
    assert fewer.split(other) is task.split(other)
    again = subsets.few(task, "rows", 20, seed=3, split=split)
    assert again.split(split).fingerprint == fewer.split(split).fingerprint
    assert subsets.few(task, "rows", 20, 4, split).split(split).fingerprint != (
        fewer.split(split).fingerprint
    )


def test_more_rows_than_there_are():
    with pytest.raises(
        ValueError, match=r"eval_rows is 360; .* from 1 to 359 \(the rows of 'test'\)"
    ):
        subsets.few(load("digits"), "eval_rows", 360, seed=0, split="test")
