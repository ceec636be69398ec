"""Log buckets and the layout of scores by distance."""

import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models.parts.relative import align, log_bucket, rows_by_distance
from tests.finetune.models.tiny import DATA


@pytest.mark.parametrize(("suffix", "buckets", "longest"), [("", 8, 64), ("_v3base", 256, 512)])
def test_buckets_of_the_reference(suffix, buckets, longest):
    golden = np.load(DATA / "deberta_v2" / "golden.npz")
    distance = golden[f"bucket_delta{suffix}"]
    expected = golden[f"bucket_expected{suffix}"]
    np.testing.assert_array_equal(log_bucket(distance, buckets, longest), expected)


def test_buckets_are_odd_and_monotone():
    distance = np.arange(-2000, 2001)
    bucket = log_bucket(distance, 32, 128)
    np.testing.assert_array_equal(bucket, -bucket[::-1])
    assert (np.diff(bucket) >= 0).all()
    np.testing.assert_array_equal(bucket[np.abs(distance) <= 16], np.arange(-16, 17))


@pytest.mark.parametrize("length", [1, 5, 40])
def test_rows_by_distance(length):
    rows, place = rows_by_distance(length, 8, 16)
    assert place.shape == (2 * length - 1,)
    assert len(rows) <= min(2 * length - 1, 16)
    distance = np.arange(-(length - 1), length)
    # Distances beyond the scale share the outermost rows.
    expected = np.clip(log_bucket(distance, 8, 16) + 8, 0, 15)
    np.testing.assert_array_equal(rows[place], expected)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_align(length):
    x = np.random.default_rng(0).normal(size=(2, 3, length, 2 * length - 1))
    got = np.asarray(align(jnp.asarray(x)))
    assert got.shape == (2, 3, length, length)
    for i in range(length):
        for j in range(length):
            np.testing.assert_allclose(got[..., i, j], x[..., i, j - i + length - 1], rtol=1e-6)
