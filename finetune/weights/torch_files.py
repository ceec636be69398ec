"""pytorch_model.bin without torch: the zip archive of today and the plain stream before torch 1.6.

Zip: <name>/data.pkl is the pickle, <name>/data/<key> are the storages, uncompressed.
Stream: magic number, version and machine, each a pickle; the pickle; a pickled list of keys; for
each key the count of numbers (8 bytes), then the numbers.
"""

from __future__ import annotations

import functools
import io
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from finetune.weights.entries import Entry
from finetune.weights.pickled import Refused, Storage, Tensor, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001

Reader = Callable[[Storage], np.ndarray]


def open_torch(path: str | os.PathLike) -> dict[str, Entry]:
    """The tensors of a state dictionary written by torch.save; their numbers are read on demand.

    Raises:
      ValueError: a missing or truncated file, one in another format, or one that holds anything
        but tensors: nothing of it is executed.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
        state, reader = (_open_zip if start == b"PK\x03\x04" else _open_stream)(path)
        if not isinstance(state, dict):
            raise Refused(f"it holds a {type(state).__name__}; allowed is a dictionary of tensors")
        wrong = [str(key) for key, value in state.items() if type(value) is not Tensor]
        if wrong:
            raise Refused(f"not tensors: {', '.join(wrong)}")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (Refused, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is refused: {error}") from None
    return {str(key): _entry(tensor, reader, path) for key, tensor in state.items()}


def _entry(tensor: Tensor, reader: Reader, path: pathlib.Path) -> Entry:
    def read() -> np.ndarray:
        try:
            return _materialise(tensor, reader)
        except (OSError, Refused, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{path} is truncated or damaged: {error}") from None

    return Entry(tensor.shape, tensor.storage.dtype, read)


def _materialise(tensor: Tensor, reader: Reader) -> np.ndarray:
    numbers = reader(tensor.storage)
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    size = numbers.dtype.itemsize
    # The bounds were checked against the storage's count when the pickle was read.
    view = np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, [step * size for step in tensor.strides]
    )
    return view.copy()


def _numbers(data: bytes, storage: Storage) -> np.ndarray:
    dtype = _dtype(storage)
    if len(data) != storage.count * dtype.itemsize:
        raise Refused(
            f"storage {storage.key} has {len(data)} bytes; "
            f"allowed are {storage.count * dtype.itemsize}"
        )
    return np.frombuffer(data, dtype)


def _dtype(storage: Storage) -> np.dtype:
    # numpy does not know bfloat16 by its name.
    return np.dtype(ml_dtypes.bfloat16 if storage.dtype == "bfloat16" else storage.dtype)


def _open_zip(path: pathlib.Path) -> tuple[Any, Reader]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1 or names[0].count("/") != 1:
            raise Refused("no single data.pkl in the archive")
        folder = names[0].removesuffix("data.pkl")
        members = {info.filename: info for info in archive.infolist()}
        order = members.get(folder + "byteorder")
        if order is not None and _stored(archive, order) != b"little":
            raise Refused("its numbers are not little-endian")
        state = read_pickle(io.BytesIO(_stored(archive, members[names[0]])))

    # One storage is kept: tensors that share it follow each other.
    @functools.lru_cache(maxsize=1)
    def reader(storage: Storage) -> np.ndarray:
        info = members.get(f"{folder}data/{storage.key}")
        if info is None:
            raise Refused(f"storage {storage.key} is missing")
        with zipfile.ZipFile(path) as archive:
            return _numbers(_stored(archive, info), storage)

    return state, reader


def _stored(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    # As torch.save writes it: what unpacks to no more than the file's size is no bomb.
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise Refused(f"{info.filename} is compressed or encrypted, which torch.save does not do")
    return archive.read(info)


def _open_stream(path: pathlib.Path) -> tuple[Any, Reader]:
    with path.open("rb") as file:
        if read_pickle(file) != MAGIC or read_pickle(file) != VERSION:
            raise Refused("it is not a file of torch.save")
        machine = read_pickle(file)
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise Refused("its numbers are not little-endian")
        state = read_pickle(file)
        keys = read_pickle(file)
        sizes = _sizes(state)
        if not isinstance(keys, list) or set(keys) - set(sizes):
            raise Refused("it has storages that no tensor uses")
        places = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            if count != sizes[key].count:
                raise Refused(f"storage {key} has another length than its tensors say")
            length = count * _dtype(sizes[key]).itemsize
            places[key] = (file.tell(), length)
            file.seek(length, os.SEEK_CUR)

    @functools.lru_cache(maxsize=1)
    def reader(storage: Storage) -> np.ndarray:
        if storage.key not in places:
            raise Refused(f"storage {storage.key} is missing")
        place, length = places[storage.key]
        with path.open("rb") as file:
            file.seek(place)
            return _numbers(file.read(length), storage)

    return state, reader


def _sizes(state: Any) -> dict[str, Storage]:
    tensors = state.values() if isinstance(state, dict) else ()
    return {t.storage.key: t.storage for t in tensors if type(t) is Tensor}
