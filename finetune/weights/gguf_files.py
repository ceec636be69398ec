"""One GGUF file, llama.cpp's form of a model: its metadata, and its tensors by torch's names.

Quantised tensors are read as float32 by the `gguf` package. Queries and keys of the llama
architecture lie there with the two halves of each head interleaved, and are put back.

Source: ggml, docs/gguf.md; gguf.quants; llama.cpp, convert_hf_to_gguf.py.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
from typing import Any

import numpy as np

from finetune.weights.entries import Entry

SUFFIX = ".gguf"
OUTER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Of rotary frequencies, and no parameter: a part of the configuration.
ROPE_FACTORS = "rope_freqs.weight"


def is_gguf(path: str | os.PathLike) -> bool:
    """Whether this is the name of a GGUF file; a folder is none.

    Example:
      >>> is_gguf("models/smollm2.gguf"), is_gguf("models/smollm2")
      (True, False)
    """
    return os.fspath(path).endswith(SUFFIX) and not os.path.isdir(path)


def metadata(path: str | os.PathLike) -> dict[str, Any]:
    """The values of a file, arrays as lists and float32 as the shortest decimal.

    Raises:
      ValueError: no such file, one that is damaged, or the `gguf` package is not installed.
    """
    return _parsed(*_version(path))[1]


def tensors(path: str | os.PathLike) -> dict[str, Entry]:
    """The tensors of a file under its own names, dequantised when they are read.

    Raises:
      ValueError: as `metadata`, and at reading a form of numbers that the package does not know.
    """
    return {
        tensor.name: Entry(_shape(tensor), "float32", functools.partial(_read, path, tensor))
        for tensor in _parsed(*_version(path))[0].tensors
    }


def open_gguf(path: str | os.PathLike) -> dict[str, Entry]:
    """The parameters of a file by torch's names and in torch's layout.

    Raises:
      ValueError: as `tensors`.
    """
    values = metadata(path)
    paired = {}
    if values.get("general.architecture") == "llama":
        heads = values["llama.attention.head_count"]
        paired = {"attn_q": heads, "attn_k": values.get("llama.attention.head_count_kv", heads)}
    entries = {}
    for name, entry in tensors(path).items():
        if name != ROPE_FACTORS:
            module = name.split(".")[-2]
            if module in paired:
                entry = entry._replace(read=functools.partial(_halves, entry.read, paired[module]))
            entries[torch_name(name)] = entry
    return entries


def torch_name(name: str) -> str:
    """The name of a tensor in transformers; its own where it has none there.

    Example:
      >>> torch_name("blk.3.attn_q.weight"), torch_name("output_norm.weight")
      ('model.layers.3.self_attn.q_proj.weight', 'model.norm.weight')
    """
    module, _, leaf = name.rpartition(".")
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)", module)
    if layer and layer[2] in INNER:
        return f"model.layers.{layer[1]}.{INNER[layer[2]]}.{leaf}"
    return f"{OUTER[module]}.{leaf}" if module in OUTER else name


def _version(path: str | os.PathLike) -> tuple[str, int, int]:
    path = pathlib.Path(path)
    try:
        about = path.stat()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return str(path), about.st_mtime_ns, about.st_size


# The sizes, the weights and the tokenizer are asked for in turn, and parsing takes seconds.
@functools.lru_cache(maxsize=1)
def _parsed(path: str, changed: int, size: int) -> tuple[Any, dict[str, Any]]:
    del changed, size
    try:
        import gguf
    except ImportError:
        raise ValueError(
            f"{path} needs the package gguf, which is not installed: pip install gguf"
        ) from None
    try:
        reader = _reader(gguf.GGUFReader)(path)
        return reader, {name: _value(f.contents()) for name, f in reader.fields.items()}
    except Exception as error:  # damaged files raise nearly every type
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is truncated or no GGUF file: {line}") from None


def _reader(kind: type) -> type:
    """The reader over the mapped file as a plain array.

    It takes a million slices, and those of `numpy.memmap` are several times slower.
    """

    class Reader(kind):
        @property
        def data(self) -> np.ndarray:
            return self._data

        @data.setter
        def data(self, mapped: np.memmap) -> None:
            self._data = np.asarray(mapped)

    return Reader


def _shape(tensor) -> tuple[int, ...]:
    return tuple(int(size) for size in reversed(tensor.shape))


def _value(value: Any) -> Any:
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _read(path: str | os.PathLike, tensor) -> np.ndarray:
    import gguf

    try:
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise ValueError(
            f"{path}: {tensor.name} has numbers of type {tensor.tensor_type.name}; allowed are "
            "those that the package gguf dequantises (another file of the same model has them)"
        ) from None
    return np.array(value, np.float32).reshape(_shape(tensor))


def _halves(read, heads: int) -> np.ndarray:
    """Rows of each head: x_0, x_{K/2}, x_1, x_{K/2 + 1}, ... -> x_0, x_1, ..."""
    value = read()
    pairs = value.reshape(heads, -1, 2, *value.shape[1:])
    return pairs.swapaxes(1, 2).reshape(value.shape)
