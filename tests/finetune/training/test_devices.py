"""The devices of a run: what a mesh may be, and where rows go."""

import jax
import numpy as np
import pytest

from finetune.training.devices import ONE_DEVICE, devices, parse


def test_one_device_leaves_everything_alone():
    batch = {"x": np.ones(3)}
    assert devices({}) is ONE_DEVICE and ONE_DEVICE.everywhere is None
    assert ONE_DEVICE.dealt(batch) is batch and ONE_DEVICE.replicated(batch) is batch


@pytest.mark.parametrize("entry", ["rows:2", "data", "data:", "data:0", "data:-1", "data:x"])
def test_other_meshes_are_refused(entry):
    with pytest.raises(ValueError, match="allowed are level:N, data:N and shard:N"):
        parse([entry])


def test_an_axis_is_named_once():
    with pytest.raises(ValueError, match="each once"):
        parse(["data:1", "data:2"])
    assert parse([]) == {}


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match=r"devices of mesh level:3,data:99 is 297; allowed"):
        devices({"level": 3, "data": 99})


def test_rows_are_dealt_out_and_the_rest_is_everywhere():
    places = devices(parse(["level:2", "data:2"]))
    x = np.arange(12.0, dtype=np.float32).reshape(6, 2)
    batch = places.dealt({"x": x})
    assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(3, 2)}
    np.testing.assert_array_equal(batch["x"], x)
    key, whole = places.replicated((jax.random.key(0), x))
    assert whole.sharding.is_fully_replicated and len(whole.sharding.device_set) == 4
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(jax.random.key(0)))
    total = places.jit(lambda batch: batch["x"].sum())(batch)
    assert total.sharding.is_fully_replicated and float(total) == x.sum()


def test_without_a_data_axis_every_device_has_all_rows():
    places = devices({"level": 2})
    batch = places.dealt({"x": np.ones((3, 2))})
    assert batch["x"].sharding.is_fully_replicated
