"""pytorch_model.bin in both formats, written by hand and by torch."""

import pickle
import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest

from finetune.weights.files import open_file
from finetune.weights.torch_files import open_torch
from tests.finetune.weights.torch_bytes import (
    dictionary,
    state,
    storage,
    stream_file,
    tensor,
    zip_file,
)

RNG = np.random.default_rng(0)
ARRAYS = {
    "double": RNG.normal(size=(2, 3)),
    "float": RNG.normal(size=(4,)).astype(np.float32),
    "half": RNG.normal(size=(2, 2)).astype(np.float16),
    "bfloat": RNG.normal(size=(3, 2)).astype(ml_dtypes.bfloat16),
    "long": np.arange(6).reshape(1, 6),
    "int": np.arange(3, dtype=np.int32),
    "byte": np.arange(4, dtype=np.uint8),
    "bool": np.array([True, False]),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 4), np.float32),
}
STORED = {str(i): array for i, array in enumerate(ARRAYS.values())}


def same(entries, arrays):
    assert list(entries) == list(arrays)
    for name, array in arrays.items():
        entry = entries[name]
        assert (entry.shape, entry.dtype) == (array.shape, array.dtype.name)
        read = entry.read()
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_zip(tmp_path):
    path = zip_file(tmp_path / "pytorch_model.bin", state(ARRAYS), STORED)
    same(open_torch(path), ARRAYS)
    same(open_file(path), ARRAYS)


def test_stream(tmp_path):
    path = stream_file(tmp_path / "pytorch_model.bin", state(ARRAYS, old=True), STORED)
    same(open_torch(path), ARRAYS)


@pytest.mark.parametrize("write", [zip_file, stream_file])
def test_strides_and_shared_storage(write, tmp_path):
    flat = np.arange(12, dtype=np.float32)
    stored = storage("0", "float32", 12)
    views = {
        "transposed": (tensor(stored, 0, (4, 3), (1, 4)), flat.reshape(3, 4).T),
        "every third": (tensor(stored, 1, (3,), (3,)), flat[1::3][:3]),
        "repeated": (tensor(stored, 5, (2, 2), (0, 1)), np.stack([flat[5:7]] * 2)),
    }
    pickled = dictionary({name: view for name, (view, _) in views.items()})
    entries = open_torch(write(tmp_path / "a.bin", pickled, {"0": flat}))
    for name, (_, expected) in views.items():
        read = entries[name].read()
        np.testing.assert_array_equal(read, expected)
        # A copy of its own: writing into one tensor does not reach another.
        read += 1


def test_a_malicious_file_is_refused(tmp_path):
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            import os

            return os.system, (f"touch {marker}",)

    for write in (zip_file, stream_file):
        path = write(tmp_path / "pytorch_model.bin", pickle.dumps({"w": Attack()}, 2), {})
        with pytest.raises(ValueError, match=r"is refused: it asks for posix\.system") as error:
            open_torch(path)
        assert "\n" not in str(error.value)
        assert not marker.exists()


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (pickle.dumps([1], 2), "it holds a list; allowed is a dictionary of tensors"),
        (pickle.dumps({"step": 3, "a": None}, 2), "not tensors: step, a"),
        (b"", "damaged pickle"),
    ],
)
def test_other_contents(pickled, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        open_torch(zip_file(tmp_path / "a.bin", pickled, {}))


def test_damaged_zips(tmp_path):
    path, good = tmp_path / "a.bin", state({"a": ARRAYS["float"]})
    zip_file(path, good, {"0": ARRAYS["float"][:2]})
    with pytest.raises(ValueError, match="storage 0 has 8 bytes; allowed are 16"):
        open_torch(path)["a"].read()
    zip_file(path, good, {})
    with pytest.raises(ValueError, match="storage 0 is missing"):
        open_torch(path)["a"].read()
    zip_file(path, good, STORED, byteorder=b"big")
    with pytest.raises(ValueError, match="not little-endian"):
        open_torch(path)
    zip_file(path, good, STORED, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed or encrypted"):
        open_torch(path)
    zip_file(path, good, {"0": ARRAYS["float"]})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="is refused"):
        open_torch(path)
    # A flipped bit in a storage is seen by the archive's checksum.
    place = data.index(ARRAYS["float"].tobytes())
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(ValueError, match="truncated or damaged"):
        open_torch(path)["a"].read()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("code/x.py", "")
    with pytest.raises(ValueError, match=r"no single data\.pkl"):
        open_torch(path)


def test_damaged_streams(tmp_path):
    path, array = tmp_path / "a.bin", ARRAYS["float"]
    stream_file(path, state({"a": array}, old=True), {"0": array})
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    with pytest.raises(ValueError, match="storage 0 has 13 bytes; allowed are 16"):
        open_torch(path)["a"].read()
    stream_file(path, state({"a": array}, old=True), {"0": array[:3]})
    with pytest.raises(ValueError, match="storage 0 has another length"):
        open_torch(path)
    stream_file(path, state({"a": array}, old=True), {"9": array})
    with pytest.raises(ValueError, match="storages that no tensor uses"):
        open_torch(path)
    stream_file(path, state({"a": array}, old=True), {})
    with pytest.raises(ValueError, match="storage 0 is missing"):
        open_torch(path)["a"].read()
    path.write_bytes(pickle.dumps(3, 2))
    with pytest.raises(ValueError, match=r"not a file of torch\.save"):
        open_torch(path)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        open_torch(tmp_path / "none.bin")


@pytest.mark.parametrize("modern", [True, False])
def test_files_of_torch(modern, tmp_path):
    pytest.importorskip("torch", reason="this test writes the files with torch itself")
    with warnings.catch_warnings():
        # Deprecations inside torch are torch's.
        warnings.simplefilter("ignore")
        import torch

        base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
        layer = torch.nn.Linear(3, 2)
        tensors = {
            "view": base[1:, ::2],
            "transposed": base.T,
            "half": base.half(),
            "bfloat": base.bfloat16(),
            "long": torch.arange(3),
            "parameter": torch.nn.Parameter(base[0].clone()),
            "scalar": torch.tensor(1.5),
            **layer.state_dict(prefix="layer."),
        }
        path = tmp_path / "pytorch_model.bin"
        torch.save(tensors, path, _use_new_zipfile_serialization=modern)
        expected = {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
    entries = open_torch(path)
    assert list(entries) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(entries[name].read().astype(np.float32), array)
    torch.save(layer.state_dict(), path, _use_new_zipfile_serialization=modern)
    assert list(open_torch(path)) == ["weight", "bias"]
    for protocol in (3, 4, 5):
        torch.save(tensors, path, pickle_protocol=protocol)
        assert list(open_torch(path)) == list(expected)
