"""Other kinds of adapters through the command: tables, AdaLoRA, transposed kernels, dtypes."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.peft import standalone
from tests.launch.commands import command
from tests.launch.test_adapter import PREFIX, best, made, products

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def written(folder, tensors, **settings):
    folder.mkdir()
    save_file({PREFIX + n: v for n, v in tensors.items()}, folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "base_model_name_or_path": "base", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return folder


def resized(folder, rank, tmp_path):
    flags = [f"--adapter={folder}", f"--rank={rank}", f"--output={tmp_path}/new"]
    assert command("adapter", "resize", *flags) == 0
    return tmp_path / "new"


def test_a_table_stays_one(tmp_path):
    parts = {"wte.lora_embedding_A": normal(3, 9), "wte.lora_embedding_B": normal(5, 3)}
    settings = {"r": 3, "lora_alpha": 6, "target_modules": ["wte"]}
    new = resized(written(tmp_path / "a", parts, **settings), 2, tmp_path)
    tensors = load_file(new / "adapter_model.safetensors")
    shapes = [tensors[f"{PREFIX}wte.lora_embedding_{n}"].shape for n in "AB"]
    assert shapes == [(2, 9), (5, 2)]
    a, b = parts.values()
    np.testing.assert_allclose(products(new)["wte"], best((2 * b @ a).T, 2), atol=1e-5)


def test_adalora_becomes_a_plain_lora(tmp_path):
    """Its third factor is folded in, and components of 0 are left out."""
    d = np.array([[2.0], [0.0], [-1.0]], np.float32)
    parts = {"q.lora_A": normal(3, 6), "q.lora_B": normal(5, 3), "q.lora_E": d}
    settings = {"peft_type": "ADALORA", "init_r": 3, "lora_alpha": 6, "target_modules": ["q"]}
    new = resized(written(tmp_path / "a", parts, **settings), "exact", tmp_path)
    a, b = parts["q.lora_A"], parts["q.lora_B"]
    np.testing.assert_allclose(products(new)["q"], (b @ (d * a)).T * 6 / (3 + 1e-5), atol=1e-5)
    assert standalone.read(new).modules["q"].a.shape == (6, 2)
    assert json.loads((new / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_a_transposed_kernel_is_said_to_be_one(tmp_path):
    """PEFT stores its factors as all others, and has to know."""
    folder = made(tmp_path / "a", fan_in_fan_out=True)
    new = resized(folder, "exact", tmp_path)
    assert json.loads((new / "adapter_config.json").read_text())["fan_in_fan_out"] is True
    for path, change in products(folder).items():
        np.testing.assert_allclose(products(new)[path], change, atol=1e-5)


@pytest.mark.parametrize(("halves", "dtype"), [(("float16", "float32"), "float32"),
                                               (("float16", "bfloat16"), "float32"),
                                               (("float16", "float16"), "float16")])  # fmt: skip
def test_a_merge_has_the_widest_dtype(halves, dtype, tmp_path):
    for name, half in zip("ab", halves, strict=True):
        file = made(tmp_path / name) / "adapter_model.safetensors"
        kind = standalone.FLOATS[half]
        save_file({n: value.astype(kind) for n, value in load_file(file).items()}, file)
    flags = [f"--adapters={tmp_path}/a,{tmp_path}/b", f"--output={tmp_path}/new"]
    assert command("adapter", "merge", *flags) == 0
    assert standalone.read(tmp_path / "new").dtype == dtype
