"""Adapters of convolutions and of biases: their own layout comes back, and PEFT adds the same."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.algebra.merging import merged
from finetune.algebra.spectra import spectrum
from finetune.peft import standalone
from tests.finetune.peft import torch_side
from tests.finetune.peft.conftest import theirs  # noqa: F401  a fixture

pytestmark = torch_side.QUIET
PREFIX = "base_model.model."
BIAS = "conv.base_layer.bias"


def made(folder, seed=0, up=1, bias="all", kernel=(3, 2)):
    """A folder of one convolution of 5 channels to 4 and its bias, as PEFT writes it."""
    rng = np.random.default_rng(seed)
    tensors = {
        "conv.lora_A.weight": rng.normal(size=(2, 5, *kernel)),
        "conv.lora_B.weight": rng.normal(size=(4, 2, up, up)),
        BIAS: rng.normal(size=4),
    }
    tensors = {PREFIX + name: value.astype(np.float32) for name, value in tensors.items()}
    about = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["conv"], "bias": bias}
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return tensors


def change(factors):
    return (factors.a @ factors.b).T


def test_the_matrix_of_a_convolution_and_back(tmp_path):
    tensors = made(tmp_path / "a")
    down, up = (tensors[f"{PREFIX}conv.lora_{n}.weight"].astype(float) for n in "AB")
    adapter = standalone.read(tmp_path / "a")
    whole = 2 * up.reshape(4, 2) @ down.reshape(2, 30)
    np.testing.assert_allclose(change(adapter.modules["conv"]), whole, rtol=1e-12)
    smaller = {"conv": spectrum(adapter.modules["conv"]).prefix(1)}
    standalone.write(tmp_path / "new", adapter._replace(modules=smaller))
    written = load_file(tmp_path / "new" / "adapter_model.safetensors")
    assert written[f"{PREFIX}conv.lora_A.weight"].shape == (1, 5, 3, 2)
    assert written[f"{PREFIX}conv.lora_B.weight"].shape == (4, 1, 1, 1)
    np.testing.assert_array_equal(written[PREFIX + BIAS], tensors[PREFIX + BIAS])
    again = standalone.read(tmp_path / "new")
    error = np.linalg.norm(change(again.modules["conv"]) - whole)
    assert error == pytest.approx(np.linalg.svd(whole, compute_uv=False)[1], rel=1e-5)


def test_the_bias_of_a_module_that_is_cut_to_nothing_has_the_name_of_the_base(tmp_path):
    tensors = made(tmp_path / "a")
    adapter = standalone.read(tmp_path / "a")
    none = {"conv": spectrum(adapter.modules["conv"]).prefix(0)}
    standalone.write(tmp_path / "new", adapter._replace(modules=none))
    written = load_file(tmp_path / "new" / "adapter_model.safetensors")
    assert list(written) == [f"{PREFIX}conv.bias"]
    np.testing.assert_array_equal(written[f"{PREFIX}conv.bias"], tensors[PREFIX + BIAS])


def test_changes_of_biases_add_up_where_weights_sum_to_one(tmp_path):
    given = [made(tmp_path / str(seed), seed)[PREFIX + BIAS] for seed in (0, 1)]
    adapters = [standalone.read(tmp_path / name) for name in "01"]
    both = merged(adapters, [1.5, -0.5])
    np.testing.assert_allclose(both.heads["conv.bias"], 1.5 * given[0] - 0.5 * given[1], rtol=1e-6)
    assert dict(both.kernels) == {"conv": (5, 3, 2)}
    with pytest.raises(ValueError, match=r"conv\.bias differs"):
        merged(adapters, [1.0, 1.0])


def test_refused(tmp_path):
    made(tmp_path / "wide", up=3)
    with pytest.raises(ValueError, match=r"conv is a convolution .* allowed are matrices"):
        standalone.read(tmp_path / "wide")
    for name, kernel in (("a", (3, 2)), ("b", (2, 3))):
        made(tmp_path / name, kernel=kernel)
    adapters = [standalone.read(tmp_path / name) for name in "ab"]
    with pytest.raises(ValueError, match=r"conv has kernels \(5, 2, 3\) and \(5, 3, 2\)"):
        merged(adapters, [0.5, 0.5])
    made(tmp_path / "c", bias="some")
    with pytest.raises(ValueError, match="bias is 'some'; allowed are 'none', 'all', 'lora_only'"):
        standalone.read(tmp_path / "c")


def test_peft_adds_the_same(theirs, tmp_path):  # noqa: F811
    torch, _, peft = theirs
    given = [made(tmp_path / str(seed), seed) for seed in (0, 1)]
    weights = 0.25, 0.75
    both = merged([standalone.read(tmp_path / name) for name in "01"], weights)
    standalone.write(tmp_path / "new", both)
    network = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(5, 4, (3, 2))})
    base = network["conv"].weight.detach().numpy().copy()
    model = peft.PeftModel.from_pretrained(network, tmp_path / "new").merge_and_unload()
    bias = sum(w * tensors[PREFIX + BIAS] for w, tensors in zip(weights, given, strict=True))
    np.testing.assert_allclose(model["conv"].bias.detach().numpy(), bias, rtol=1e-5)
    got = model["conv"].weight.detach().numpy() - base
    np.testing.assert_allclose(got.reshape(4, -1), change(both.modules["conv"]), atol=1e-5)
