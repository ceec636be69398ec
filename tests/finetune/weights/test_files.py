"""Model folders: whole and sharded, safetensors and pickles, and what is refused."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from finetune.weights.files import open_checkpoint, open_file
from tests.finetune.weights.torch_bytes import state, zip_file

RNG = np.random.default_rng(0)
A = RNG.normal(size=(2, 3)).astype(np.float32)
B = RNG.normal(size=(4,)).astype(ml_dtypes.bfloat16)
C = np.arange(3)


def index(folder, name, table):
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))


def same(checkpoint):
    for name, array in {"a": A, "b": B, "c": C}.items():
        entry = checkpoint.entries[name]
        assert (entry.shape, entry.dtype) == (array.shape, array.dtype.name)
        np.testing.assert_array_equal(entry.read(), array)


def shards(folder):
    save_file({"a": A}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": B, "c": C}, folder / "model-00002-of-00002.safetensors")
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    return {"a": one, "b": two, "c": two}


def test_whole_files(tmp_path):
    arrays = {"a": A, "b": B, "c": C}
    stored = {str(i): array for i, array in enumerate(arrays.values())}
    zip_file(tmp_path / "pytorch_model.bin", state(arrays), stored)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.source.endswith("pytorch_model.bin")
    same(checkpoint)
    # Where there are both, the format that can hold nothing but tensors.
    save_file(arrays, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.source.endswith("model.safetensors")
    same(checkpoint)


def test_shards(tmp_path):
    index(tmp_path, "model.safetensors", shards(tmp_path))
    same(open_checkpoint(tmp_path))


def test_pickled_shards(tmp_path):
    zip_file(tmp_path / "pytorch_model-1.bin", state({"a": A}), {"0": A})
    zip_file(tmp_path / "pytorch_model-2.bin", state({"b": B, "c": C}), {"0": B, "1": C})
    table = {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin", "c": "pytorch_model-2.bin"}
    index(tmp_path, "pytorch_model.bin", table)
    same(open_checkpoint(tmp_path))


def test_an_index_that_does_not_fit(tmp_path):
    table = shards(tmp_path)
    index(tmp_path, "model.safetensors", {**table, "b": table["a"], "d": table["a"]})
    with pytest.raises(ValueError) as error:
        open_checkpoint(tmp_path)
    for words in ("b is not in model-00001", "d is not in model-00001", "b of model-00002"):
        assert words in str(error.value)
    index(tmp_path, "model.safetensors", {"a": "gone.safetensors"})
    with pytest.raises(
        ValueError, match=r"1 files, of which gone\.safetensors is missing; allowed"
    ):
        open_checkpoint(tmp_path)
    for bad in ("../model.safetensors", "/etc/model.safetensors", "..", "a\\b", ""):
        index(tmp_path, "model.safetensors", {"a": bad})
        with pytest.raises(ValueError, match="allowed are files beside it"):
            open_checkpoint(tmp_path)
    index(tmp_path, "model.safetensors", {"a": 3})
    with pytest.raises(ValueError, match="has no weight_map"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_missing_shards_are_named(tmp_path, name):
    stem, _, suffix = name.rpartition(".")
    files = [f"{stem}-0000{number}-of-00003.{suffix}" for number in (1, 2, 3)]
    (tmp_path / files[1]).write_bytes(b"")
    with pytest.raises(
        ValueError, match=f"no weights but {stem}-00002-of-00003.* without its inde"
    ):
        open_checkpoint(tmp_path)
    index(tmp_path, name, dict(zip("abc", files, strict=True)))
    with pytest.raises(ValueError, match=f"3 files, of which {files[0]}, {files[2]} is missing"):
        open_checkpoint(tmp_path)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(ValueError, match=r"holds no weights; allowed are model\.safetensors, "):
        open_checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({"a": A}, path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="is truncated or not a safetensors file"):
        open_checkpoint(tmp_path)
    path.write_bytes(b"not at all")
    with pytest.raises(ValueError, match="is truncated or not a safetensors file"):
        open_file(path)
