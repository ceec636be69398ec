"""T5's buckets: the recorded tables, also where a distance lies exactly on a border."""

import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models.parts.buckets import bucket, distances, to_step
from finetune.models.registry import read_config
from tests.finetune.models.tiny import DATA


@pytest.mark.parametrize("name", ["t5_relu", "t5_gated"])
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_recorded_tables(name, stack):
    golden, config = np.load(DATA / name / "golden.npz"), read_config(DATA / name, labels=0)
    both = stack == "encoder"
    own = (config.relative_attention_num_buckets, config.relative_attention_max_distance)
    for sizes, ending in ((own, ""), ((32, 128), "_32_128")):
        got = bucket(golden[f"rel{ending}"], *sizes, both=both)
        np.testing.assert_array_equal(got, golden[f"bucket_{stack}{ending}"])


def test_borders():
    assert bucket(-np.array([15, 16, 31, 32, 63, 64]), 32, 128, both=True).tolist() == [
        *(9, 10, 11, 12, 13, 14)
    ]


def test_of_one_query():
    table = distances(5, 8, 12, both=False)
    for slot in range(5):
        expected = bucket(np.arange(5) - slot, 8, 12, both=False)
        np.testing.assert_array_equal(to_step(table, jnp.asarray(slot)), expected)
