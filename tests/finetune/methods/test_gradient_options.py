"""Settings of the methods that start from a gradient: defaults, and what is refused."""

import jax
import pytest

from finetune.methods import MethodConfig
from tests.finetune.methods.starts import built, problem


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("loraga", {"direction": "up"}, "direction is 'up'; allowed are 'ArB2r'"),
        ("loraga", {"gamma": 0.0}, "gamma is 0.0; allowed are numbers > 0"),
        ("loraga", {"scaling": "gd"}, "scaling is 'gd'"),
        ("loraga", {"gradient_batch_size": 0}, "gradient_batch_size is 0"),
        ("loraga", {"gradient_kernels": 0}, "gradient_kernels is 0"),
        (
            "loraone",
            {"variant": "old"},
            "variant is 'old'; allowed are 'public'",
        ),
        ("loraone", {"sign": "+grad", "variant": "spectral"}, "sign is '\\+grad' with variant"),
        ("loraone", {"damping": 0.0}, "damping is 0.0"),
        ("loraone", {"factor_order": "both"}, "factor_order is 'both'"),
        ("loraone", {"svd": "fast"}, "svd is 'fast'"),
        ("loraone", {"svd_iterations": -1}, "svd_iterations is -1"),
        ("onestep", {"rank": -1}, "rank is -1; allowed are integers >= 0"),
        ("onestep", {"step_size": 0.0}, "step_size is 0.0"),
        ("deeplora", {"depth": 1}, "depth is 1; allowed are integers >= 2"),
        ("deeplora", {"rank": 3, "frames": "transported"}, "rank is 3 with frames 'transported'"),
        ("deeplora", {"outer_rate": -1.0}, "outer_rate is -1.0; allowed are numbers >= 0"),
        ("deeplora", {"alpha": 2.0}, "alpha is 2.0, which method 'deeplora' does not have"),
    ],
)
def test_refused(name, options, text):
    with pytest.raises(ValueError, match=text):
        MethodConfig(name, **options)


@pytest.mark.parametrize(
    ("name", "rank", "most"),
    [("loraga", 4, 3), ("loraone", 8, 7), ("onestep", 32, 7), ("deeplora", 128, 7)],
)
def test_a_rank_above_what_a_kernel_has_is_refused(name, rank, most):
    kernels, gradients = problem()
    method = built(name, rank=rank)
    with pytest.raises(ValueError, match=f"rank is {rank} with module fc of 9 x 7; .* 1 to {most}"):
        method.prepare(jax.random.key(0), kernels, gradients)
    built(name, rank=most).prepare(jax.random.key(0), kernels, gradients)


@pytest.mark.parametrize("rank", [8, 32, 128])
def test_the_published_ranks(rank):
    kernels, gradients = problem(size=(130, 140), dtype="float32")
    theta, _ = built("loraone", rank=rank).prepare(jax.random.key(0), kernels, gradients)
    assert theta["fc"]["a"].shape == (130, rank) and theta["fc"]["b"].shape == (rank, 140)


def test_the_defaults_are_the_public_code_s():
    one = MethodConfig("loraone").settings
    assert (one.variant, one.sign, one.scale, one.gamma) == ("public", "-grad", 16 / 8**0.5, None)
    assert (one.gradient_batches, one.gradient_batch_size, one.gradient_shuffled) == (8, 1, False)
    assert one.width == (512, 16)
    assert MethodConfig("loraone", variant="talk").settings.width == (32, 4)
    ga = MethodConfig("loraga").settings
    assert (ga.direction, ga.scaling, ga.gamma, ga.svd_iterations) == ("ArB2r", "stable", 16.0, 4)
    deep = MethodConfig("deeplora").settings
    assert (deep.depth, deep.init_scale, deep.compressed, deep.outer_rate) == (3, 1e-3, True, 0.01)
    assert built("deeplora", compressed=False).needs_gradients is None


def test_frozen_frames_do_not_move_and_others_move_slowly():
    kernels, gradients = problem(dtype="float32")
    for rate in (0.0, 0.01):
        method = built("deeplora", rank=2, outer_rate=rate)
        theta, _ = method.prepare(jax.random.key(0), kernels, gradients)
        slope = jax.tree.map(lambda leaf: leaf * 0 + 1, theta)
        updates, _ = method.tx.update(slope, method.tx.init(theta), theta, step=0)
        assert float(updates["fc"]["core"].min()) == pytest.approx(-0.1)
        for frame in ("left", "right"):
            assert float(updates["fc"][frame].min()) == pytest.approx(-0.1 * rate)
