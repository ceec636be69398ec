"""Tensors of GGUF files, quantised and not."""

import numpy as np
import pytest

from finetune.weights.files import open_checkpoint
from finetune.weights.gguf_files import metadata, tensors
from tests.finetune.weights import gguf_bytes

gguf = pytest.importorskip("gguf", reason="GGUF files need the package gguf (the extra)")


def write(path, value, kind):
    writer = gguf.GGUFWriter(path, "llama")
    gguf_bytes.add_metadata(writer, {"llama__attention__head_count": 2, "llama__eps": 1e-5})
    data = gguf.quants.quantize(value, kind)
    writer.add_tensor("blk.0.attn_q.weight", data, raw_dtype=kind)
    writer.add_tensor("blk.0.attn_q_norm.weight", value[0])
    gguf_bytes.finish(writer)
    return path


# Half of the step that the largest number of a block of 32 is cut into.
@pytest.mark.parametrize(
    ("quant", "error"), [("F16", 2e-3), ("BF16", 2e-2), ("Q8_0", 2e-2), ("Q4_1", 0.3)]
)
def test_dequantised_on_demand(quant, error, tmp_path):
    value = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    path = write(tmp_path / "x.gguf", value, gguf.GGMLQuantizationType[quant])
    entry = tensors(path)["blk.0.attn_q.weight"]
    assert entry.shape == (8, 32) and entry.dtype == "float32"
    assert 0 < np.abs(entry.read() - value).max() < error
    entries = open_checkpoint(path).entries
    assert set(entries) == {f"model.layers.0.self_attn.q_{n}.weight" for n in ("proj", "norm")}
    # Two heads of four features: the pairs of each head are two halves again.
    read = entries["model.layers.0.self_attn.q_proj.weight"].read()
    np.testing.assert_array_equal(read, entry.read()[[0, 2, 1, 3, 4, 6, 5, 7]])


def test_numbers_are_the_shortest_decimals(tmp_path):
    value = np.ones((8, 32), np.float32)
    path = write(tmp_path / "x.gguf", value, gguf.GGMLQuantizationType.F16)
    assert metadata(path)["llama.eps"] == 1e-5


def test_a_file_cut_short(tmp_path):
    value = np.ones((8, 32), np.float32)
    path = write(tmp_path / "x.gguf", value, gguf.GGMLQuantizationType.F16)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"x\.gguf is truncated or no GGUF file: ") as error:
        tensors(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"y\.gguf cannot be read: No such file"):
        tensors(tmp_path / "y.gguf")
