"""Finds and opens the weights of a model folder: safetensors or torch pickles, whole or sharded."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from finetune.weights import low_rank
from finetune.weights.entries import Checkpoint, Entry
from finetune.weights.gguf_files import is_gguf, open_gguf
from finetune.weights.torch_files import open_torch

# In the order of preference; a safetensors file cannot hold anything but tensors.
WHOLE = ("model.safetensors", "pytorch_model.bin")
SUFFIXES = (".safetensors", ".bin")

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}

EIGHT_BITS = ("F8_E4M3", "F8_E5M2")  # numpy has no such types, and safetensors' reader asks it


def open_checkpoint(folder: str | os.PathLike) -> Checkpoint:
    """The tensors of a model folder or of a GGUF file; nothing but headers is read yet.

    Looks for model.safetensors, model.safetensors.index.json, pytorch_model.bin and
    pytorch_model.bin.index.json, in this order.

    Raises:
      ValueError: none of them, a truncated or foreign file, a pickle that holds anything but
        tensors, or an index that does not fit its files.
    """
    folder = pathlib.Path(folder)
    if is_gguf(folder):
        return Checkpoint(str(folder), open_gguf(folder))
    for name in WHOLE:
        path, index = folder / name, folder / f"{name}.index.json"
        if path.is_file():
            return Checkpoint(str(path), low_rank.expanded(open_file(path)))
        if index.is_file():
            return Checkpoint(str(index), _open_shards(index))
    names = ", ".join(f"{name}, {name}.index.json" for name in WHOLE)
    shards = sorted(path.name for path in folder.glob("*-of-*") if path.suffix in SUFFIXES)
    alone = f" but {shards[0]} without its index" if shards else ""
    raise ValueError(f"{folder} holds no weights{alone}; allowed are {names}")


def open_file(path: str | os.PathLike) -> dict[str, Entry]:
    """The tensors of one .safetensors or .bin file.

    Raises:
      ValueError: a missing, truncated or foreign file, or a pickle that is refused.
    """
    path = pathlib.Path(path)
    return open_safetensors(path) if path.suffix == ".safetensors" else open_torch(path)


def open_safetensors(path: str | os.PathLike) -> dict[str, Entry]:
    """The tensors of a .safetensors file.

    Raises:
      ValueError: a missing, truncated or foreign file.
    """
    try:
        file = safe_open(os.fspath(path), framework="np")
        names = list(file.keys())
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from None

    def entry(name: str) -> Entry:
        view = file.get_slice(name)
        dtype = view.get_dtype()
        shape = tuple(view.get_shape())
        if dtype in EIGHT_BITS:
            return Entry(shape, DTYPES[dtype], lambda: _eight_bits(path, name))
        return Entry(shape, DTYPES.get(dtype, dtype), lambda: file.get_tensor(name))

    return {name: entry(name) for name in names}


def _eight_bits(path: str | os.PathLike, name: str) -> np.ndarray:
    """A tensor of 8-bit floats by the layout of the format: header length, header, numbers."""
    with pathlib.Path(path).open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        tensor = json.loads(file.read(size))[name]
        start, end = tensor["data_offsets"]
        file.seek(8 + size + start)
        numbers = np.frombuffer(file.read(end - start), getattr(ml_dtypes, DTYPES[tensor["dtype"]]))
    return numbers.reshape(tensor["shape"])


def _open_shards(index: pathlib.Path) -> dict[str, Entry]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise ValueError(f"{index} has no weight_map from tensor names to file names")
    shards = sorted(set(table.values()))
    for name in shards:
        # The index is input: it may name files beside itself and no others.
        if name in ("", "..") or pathlib.PurePath(name).name != name or "\\" in name:
            raise ValueError(f"{index} names the file {name!r}; allowed are files beside it")
    missing = [name for name in shards if not (index.parent / name).is_file()]
    if missing:
        raise ValueError(
            f"{index} names {len(shards)} files, of which {', '.join(missing)} is missing; "
            "allowed are all of them beside it"
        )
    files = {name: open_file(index.parent / name) for name in shards}
    problems = [f"{key} is not in {name}" for key, name in table.items() if key not in files[name]]
    problems += [
        f"{key} of {name} is not listed for it"
        for name, entries in files.items()
        for key in entries
        if table.get(key) != name
    ]
    if problems:
        raise ValueError(f"{index} does not fit its files: " + "; ".join(sorted(problems)))
    return {key: files[name][key] for key, name in table.items()}


def read_json(path: str | os.PathLike, kind: type = dict) -> Any:
    """The object in a JSON file, or what `kind` is: list for an array.

    Raises:
      ValueError: no such file, not JSON, or not of that kind.
    """
    try:
        raw = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(raw, kind):
        allowed = "an object" if kind is dict else f"a {kind.__name__}"
        raise ValueError(f"{path} holds a {type(raw).__name__}; allowed is {allowed}")
    return raw
