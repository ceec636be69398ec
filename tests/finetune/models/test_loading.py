"""From a folder or a name on the Hub to a model."""

import shutil

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models import load, resolve
from finetune.training.devices import devices
from finetune.training.network import digest, from_module
from finetune.weights.files import open_file
from finetune.weights.saving import state_dict
from tests.finetune.models.tiny import DATA, GOLDEN, run
from tests.finetune.weights.torch_bytes import state, zip_file

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", GOLDEN)
def test_load(name):
    config, model = load(DATA / name, labels=5, key=KEY, dtype=jnp.bfloat16)
    assert config is model.config
    assert config.num_labels == 5
    parameters = state_dict(model)
    stored = open_file(DATA / name / "model.safetensors")
    for key, entry in stored.items():
        np.testing.assert_array_equal(parameters[f"{model.base}.{key}"], entry.read())
    heads = {key for key in parameters if not key.startswith(f"{model.base}.")}
    assert set(model.fresh) == heads
    assert parameters["classifier.weight"].shape == (5, 32)
    assert np.abs(parameters["classifier.weight"]).max() > 0
    assert not parameters["classifier.bias"].any()


def test_the_key_decides_the_fresh_head_only():
    first, again, other = (
        state_dict(load(DATA / "deberta_v2", labels=2, key=key)[1])
        for key in (KEY, KEY, jax.random.key(1))
    )
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
        fresh = name in ("classifier.weight", "pooler.dense.weight")
        assert np.array_equal(other[name], array) != fresh


def test_pickled_weights_give_the_same_model(tmp_path):
    entries = open_file(DATA / "bert" / "model.safetensors")
    arrays = {name: entry.read() for name, entry in entries.items()}
    stored = {str(i): array for i, array in enumerate(arrays.values())}
    zip_file(tmp_path / "pytorch_model.bin", state(arrays), stored)
    shutil.copy(DATA / "bert" / "config.json", tmp_path)
    ours, theirs = (load(f, labels=2, key=KEY)[1] for f in (tmp_path, DATA / "bert"))
    for name, array in state_dict(theirs).items():
        np.testing.assert_array_equal(state_dict(ours)[name], array)


@pytest.mark.parametrize("parts", [0, 2])
def test_layers_alike_are_read_into_one_array(parts):
    placed = devices({"shard": parts} if parts else {})
    how = {"labels": 2, "key": KEY, "sharding": placed.of_parameter}
    _, model = load(DATA / "bert", scan=2, **how)
    _, plain = load(DATA / "bert", **how)
    before = {id(array) for array in jax.live_arrays()}
    base, wanted = from_module(model, scan=2), from_module(plain)
    assert {id(stack) for stack in jax.tree.leaves(base.params.stacks)} <= before  # no copy
    assert len(base.params.groups) == 16 and digest(base.params) == digest(wanted.params)
    for group, stack in zip(base.params.groups, base.params.stacks, strict=True):
        own = wanted.params[group[0]].sharding.shard_shape(stack.shape[1:])
        assert stack.sharding.shard_shape(stack.shape) == (len(group), *own)
    # Without a loop the layers have arrays of their own.
    assert digest(from_module(model).params) == digest(wanted.params)


def test_placement_covers_fresh_parameters_too():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    _, model = load(DATA / "bert", labels=2, key=KEY, sharding=whole)
    assert model.classifier.kernel[...].sharding == whole
    inputs = {"input_ids": jnp.ones((2, 4), jnp.int32), "attention_mask": jnp.ones((2, 4))}
    assert run(model, inputs).logits.sharding.device_set == set(mesh.devices.flat)


class Hub:
    """A stand-in for the download: a folder with what a repository would give."""

    def __init__(self, monkeypatch, folder, name):
        self.asked = []

        def download(repo_id, *, revision, allow_patterns):
            self.asked.append((repo_id, revision, allow_patterns))
            if folder is None:
                raise huggingface_hub.errors.LocalEntryNotFoundError("offline\nand more")
            files = [f for f in allow_patterns if f in ("config.json", name)]
            for file in files:
                shutil.copy(DATA / "bert" / "config.json", folder / file)
            return str(folder)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)


def test_hub_prefers_safetensors(monkeypatch, tmp_path):
    hub = Hub(monkeypatch, tmp_path, "model.safetensors")
    assert resolve("owner/name", revision="abc") == tmp_path
    ((name, revision, patterns),) = hub.asked
    assert (name, revision) == ("owner/name", "abc")
    assert "config.json" in patterns
    assert not any("bin" in pattern for pattern in patterns)


def test_hub_asks_for_pickles_where_there_is_nothing_else(monkeypatch, tmp_path):
    hub = Hub(monkeypatch, tmp_path, "pytorch_model.bin")
    assert resolve("owner/name") == tmp_path
    assert [("pytorch_model.bin" in patterns) for *_, patterns in hub.asked] == [False, True]


def test_neither_folder_nor_repository(monkeypatch, tmp_path):
    Hub(monkeypatch, None, "")
    with pytest.raises(ValueError, match=r"no such folder, and the Hub does not give it: offline$"):
        load("owner/name", labels=2, key=KEY)
    monkeypatch.undo()
    # A path that cannot be a name on the Hub is refused without a network.
    with pytest.raises(ValueError, match="no such folder"):
        resolve(tmp_path / "a" / "b")
