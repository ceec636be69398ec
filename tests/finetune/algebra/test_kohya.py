"""Files of kohya's layout: every number in its place, and what is refused by name."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from finetune.algebra import kohya

UNET = "lora_unet_down_blocks_0_attentions_0_proj_in"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def tensors(name=UNET, rank=2, alpha=1.0, one=False):
    rng = np.random.default_rng(0)
    more = (1, 1) if one else ()
    return {
        f"{name}.lora_down.weight": rng.normal(size=(rank, 5, *more)).astype(np.float32),
        f"{name}.lora_up.weight": rng.normal(size=(4, rank, *more)).astype(np.float32),
        f"{name}.alpha": np.array(alpha, np.float32),
    }


def written(path, *parts):
    save_file({name: value for part in parts for name, value in part.items()}, path)
    return path


@pytest.mark.parametrize("one", [False, True])
def test_the_change_has_the_scale_alpha_over_rank(one, tmp_path):
    given = tensors(alpha=3.0, one=one)
    adapter = kohya.read(written(tmp_path / "a.safetensors", given))
    down, up = (given[f"{UNET}.lora_{n}.weight"].astype(np.float64) for n in ("down", "up"))
    full = (up.reshape(4, 2) @ down.reshape(2, 5)) * 3 / 2
    a, b = adapter.modules["down_blocks.0.attentions.0.proj_in"]
    np.testing.assert_allclose((a @ b).T, full, rtol=1e-12)
    assert adapter.dtype == "float32" and adapter.config.base is None
    assert dict(adapter.kernels) == (
        {"down_blocks.0.attentions.0.proj_in": (5, 1, 1)} if one else {}
    )


def test_without_alpha_the_scale_is_one(tmp_path):
    given = tensors()
    del given[f"{UNET}.alpha"]
    (factors,) = kohya.read(written(tmp_path / "a.safetensors", given)).modules.values()
    np.testing.assert_array_equal(factors.a, given[f"{UNET}.lora_down.weight"].T)


def test_several_networks_need_a_choice(tmp_path):
    path = written(tmp_path / "a.safetensors", tensors(), tensors(TEXT))
    with pytest.raises(ValueError, match="component is None; allowed are te, unet"):
        kohya.read(path)
    assert list(kohya.read(path, "te").modules) == ["text_model.encoder.layers.0.self_attn.q_proj"]


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (f"{UNET}.hada_w1_a", (2, 2), "hada_w1_a is not known"),
        (f"{UNET}.dora_scale", (4,), "dora_scale is not known"),
        (f"{UNET}.lora_down.weight", (2, 5, 3, 3), "the second is 1 x 1"),
        (f"{UNET}.lora_up.weight", (4, 2, 3, 3), "the second is 1 x 1"),
        (f"{UNET}.lora_down.weight", (3, 5), "two ranks"),
        (f"{UNET}.alpha", (2,), "one number"),
        (f"{TEXT}x.lora_up.weight", (4, 2), "allowed are te, unet"),
    ],
)
def test_refused(name, shape, message, tmp_path):
    given = {**tensors(), name: np.ones(shape, np.float32)}
    with pytest.raises(ValueError, match=message):
        kohya.read(written(tmp_path / "a.safetensors", given))


def test_nan_is_refused_by_name(tmp_path):
    given = tensors(alpha=float("nan"))
    with pytest.raises(ValueError, match="proj_in"):
        kohya.read(written(tmp_path / "a.safetensors", given))
