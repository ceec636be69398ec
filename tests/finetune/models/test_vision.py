"""The networks for images: published sizes, gradients, dropout, adapters, and each one's idea."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from finetune.models import PLAIN, Ops, abstract, head_modules, initialise, linears
from finetune.models.config import parse
from finetune.models.dense import DenseConfig
from finetune.models.parts.convolution import Conv, GroupNorm
from finetune.models.parts.layers import dropout
from finetune.models.resnet import ResNetConfig
from finetune.models.vgg import VGGConfig
from finetune.models.vit import ViTConfig
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import FAST, random_model, run

TINY = {
    "dense": DenseConfig(num_labels=3, input_size=48, hidden_size=8, hidden_dropout_prob=0.5),
    "vgg": VGGConfig(
        num_labels=3,
        image_size=4,
        stages=((4,), (8, 8)),
        classifier_sizes=(6,),
        classifier_dropout=0.5,
    ),
    "resnet": ResNetConfig(
        num_labels=3, image_size=4, depths=(1, 1), hidden_sizes=(4, 8), hidden_dropout_prob=0.5
    ),
    "vit": ViTConfig(
        num_labels=3,
        image_size=4,
        patch_size=2,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        hidden_dropout_prob=0.5,
    ),
}
KINDS = tuple(TINY)
IMAGES = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
KEY = jax.random.key(0)


def size(config):
    return sum(int(np.prod(leaf.shape)) for leaf in named_leaves(abstract(config)).values())


@pytest.mark.parametrize(
    ("config", "published"),
    [
        # With a bias in each convolution and batch normalisation, 512 -> 10: public CIFAR code.
        (VGGConfig(num_labels=10), 14_728_266),
        # torchvision's vgg16_bn, 224 x 224 images and 1000 classes.
        (VGGConfig(num_labels=1000, image_size=224, classifier_sizes=(4096, 4096)), 138_365_992),
        (ResNetConfig(num_labels=10), 11_173_962),  # public CIFAR code
        (ViTConfig(num_labels=1000), 86_567_656),  # Dosovitskiy et al., Table 1: 86M
        (DenseConfig(num_labels=10, input_size=784, hidden_size=512, num_layers=3), 668_672),
    ],
)
def test_published_sizes(config, published):
    assert size(config) == published


# Every network's forward pass is run below; gradients and dropout of one of each kind of map here.
@pytest.mark.thorough  # training/test_remat.py, examples of the survey
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_gradients_and_dropout(kind):
    model = initialise(TINY[kind], KEY)
    graphdef, params = nnx.split(model)
    off, flat = run(model, {"pixels": IMAGES}), run(model, {"pixels": IMAGES.reshape(5, -1)})
    assert off.logits.shape == (5, 3) and off.logits.dtype == jnp.float32
    np.testing.assert_array_equal(off.logits, flat.logits)
    np.testing.assert_array_equal(off.logits, run(model, {"pixels": IMAGES}).logits)
    first, second = (jax.random.key(seed, impl="rbg") for seed in (0, 1))
    once, other = (run(model, {"pixels": IMAGES}, key=key).logits for key in (first, second))
    assert np.abs(once - off.logits).max() > 1e-4 and np.abs(once - other).max() > 1e-4

    def loss(params):
        return (nnx.merge(graphdef, params)({"pixels": IMAGES}).logits ** 2).sum()

    gradient = jax.jit(jax.grad(loss), compiler_options=FAST)(params)
    leaves = jax.tree.leaves(gradient)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert sum(float(np.abs(leaf).max()) > 0 for leaf in leaves) >= len(leaves) - 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_does_not_depend_on_its_batch(kind):
    # What batch normalisation would break.
    model = random_model(TINY[kind])
    whole = run(model, {"pixels": IMAGES}).logits
    np.testing.assert_allclose(run(model, {"pixels": IMAGES[:2]}).logits, whole[:2], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kernels_go_through_ops(kind):
    model = random_model(TINY[kind])
    kernels = {
        name.removesuffix(".weight"): leaf.shape
        for name, leaf in named_leaves(model).items()
        if leaf.transposed
    }
    assert linears(model) == kernels
    # Other ops that compute the same: for convolutions the way over patches.
    same = Ops(lambda path, x, kernel: PLAIN.linear(path, x, kernel), PLAIN.embed)
    expected = run(model, {"pixels": IMAGES}).logits
    np.testing.assert_allclose(run(model, {"pixels": IMAGES}, ops=same).logits, expected, atol=1e-4)
    assert set(head_modules(model)) <= set(kernels)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_another_size_are_refused(kind):
    with pytest.raises(ValueError, match="pixels have 27 numbers per example; allowed are 48"):
        jax.eval_shape(lambda: initialise(TINY[kind], KEY)({"pixels": IMAGES[:, :3, :3]}))


def test_a_convolution_is_that_of_torch():
    torch_weight = np.random.default_rng(1).normal(size=(6, 3, 3, 3))  # (out, in, k, k)
    conv = Conv("conv", 3, 6, stride=2, bias=False)
    conv.kernel[...] = jnp.asarray(torch_weight.reshape(6, -1).T, jnp.float32)
    padded = np.pad(IMAGES.astype(np.float64), [(0, 0), (1, 1), (1, 1), (0, 0)])
    y = conv(jnp.asarray(IMAGES), PLAIN)
    assert y.shape == (5, 2, 2, 6)
    for i in range(2):
        for j in range(2):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected = np.einsum("bhwc,ochw->bo", window, torch_weight)
            np.testing.assert_allclose(y[:, i, j], expected, atol=1e-4)


def test_group_norm():
    x = np.random.default_rng(2).normal(2, 3, size=(2, 3, 3, 64)).astype(np.float32)
    y = np.asarray(GroupNorm(64, "float32")(jnp.asarray(x))).reshape(2, 9, 32, 2)
    np.testing.assert_allclose(y.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 3)), 1, atol=1e-4)
    assert GroupNorm(6, "float32").groups == 2


def test_a_deep_linear_network_is_its_product():
    config = DenseConfig(
        num_labels=3, input_size=48, hidden_size=8, num_layers=4, activation="identity"
    )
    model = random_model(config)
    product = np.linalg.multi_dot([np.asarray(layer.kernel[...]) for layer in model.layers])
    logits = run(model, {"pixels": IMAGES}).logits
    np.testing.assert_allclose(logits, IMAGES.reshape(5, -1) @ product, rtol=1e-3, atol=1e-4)
    assert head_modules(model) == ("layers.3",)


def test_the_rate_of_dropout_may_be_traced():
    x = jnp.ones((50, 40))
    traced = jax.jit(dropout)(x, 0.4, KEY)
    np.testing.assert_array_equal(traced, dropout(x, 0.4, KEY))
    np.testing.assert_array_equal(jax.jit(dropout)(x, 0.0, KEY), x)


def test_lists_of_a_file_become_tuples():
    raw = {"model_type": "vgg", "image_size": 4, "stages": [[4], [8, 8]], "classifier_sizes": [6]}
    config = parse(VGGConfig, raw | {"classifier_dropout": 0.5}, num_labels=3)
    assert config == TINY["vgg"] and hash(config) == hash(TINY["vgg"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VGGConfig(num_labels=2, stages=((4,), ())), "stages is"),
        (lambda: ResNetConfig(num_labels=2, depths=(1,)), "4 stages, depths 1"),
        (lambda: ViTConfig(num_labels=2, image_size=30), "image_size is 30; allowed are multipl"),
        (lambda: DenseConfig(num_labels=2, input_size=2, hidden_size=0), "hidden_size is 0"),
    ],
)
def test_contradictions(make, message):
    with pytest.raises(ValueError, match=message):
        make()
