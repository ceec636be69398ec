"""Gradient checkpointing: the same numbers, and less to keep."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models import initialise
from finetune.models.parts.ops import PLAIN
from finetune.models.vit import ViTConfig
from finetune.training.network import from_module
from tests.finetune.models.tiny import (
    CONFIGS,
    FAST,
    LLAMA_CONFIG,
    MLP_CONFIG,
    T5_CONFIG,
    batch,
    pairs,
    random_model,
)

VIT = ViTConfig(
    num_labels=3,
    image_size=4,
    patch_size=2,
    num_channels=1,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
)
# One layer is enough for the numbers; DistilBERT's layers are stacked by what stacks BERT's.
SHORT = {"num_hidden_layers": 1}
SHALLOW = {
    **{kind: dataclasses.replace(CONFIGS[kind], **SHORT) for kind in ("bert", "deberta-v2")},
    "llama": dataclasses.replace(LLAMA_CONFIG, **SHORT),
    "t5": dataclasses.replace(T5_CONFIG, num_layers=1, num_decoder_layers=1),
    "vit": dataclasses.replace(VIT, **SHORT),
}


def objective(net, inputs, key, params):
    return jnp.square(net.forward(params, inputs, PLAIN, key)).sum()


@functools.cache
def shallow(kind):
    return random_model(SHALLOW[kind])


def value(kind, remat):
    """The parameters, and what is differentiated by them."""
    inputs = {"pixels": np.ones((2, 16), np.float32)} if kind == "vit" else pairs()
    net = from_module(shallow(kind), remat=remat)
    return net.params, functools.partial(objective, net, inputs, jax.random.key(0, impl="rbg"))


@pytest.mark.parametrize(
    "kind",
    [k if k in ("llama", "t5") else pytest.param(k, marks=pytest.mark.thorough) for k in SHALLOW],
)
def test_layers_are_recomputed(kind):
    recomputed = []
    for remat in (False, True):
        params, loss = value(kind, remat)
        recomputed.append(str(jax.make_jaxpr(loss)(params)).count("remat"))
    assert shallow(kind).remat is False
    assert recomputed[0] < recomputed[1]  # activation functions are recomputed in both


# One decoder and one encoder by default.
@pytest.mark.parametrize(
    "kind",
    [kind if kind == "vit" else pytest.param(kind, marks=pytest.mark.thorough) for kind in SHALLOW],
)
def test_values_and_gradients_stay(kind):
    result = []
    for remat in (False, True):
        params, loss = value(kind, remat)
        result.append(jax.jit(jax.value_and_grad(loss), compiler_options=FAST)(params))
    (first, kept), (second, again) = result
    assert float(second) == pytest.approx(float(first), rel=1e-6)
    # Of all together: a bias of keys changes no softmax, and its gradient is rounding.
    largest = max(float(np.abs(leaf).max()) for leaf in kept.values())
    for name, leaf in kept.items():
        np.testing.assert_allclose(again[name], leaf, atol=1e-6 * largest)


@pytest.mark.thorough  # that layers are recomputed is held above
def test_less_is_kept():
    config = dataclasses.replace(LLAMA_CONFIG, num_hidden_layers=4, intermediate_size=128)
    model = initialise(config, jax.random.key(0))
    inputs = batch(size=8, length=20)
    # As compilers for accelerators do, and the host's does not: barriers order the program.
    ordered = {"xla_disable_hlo_passes": "cse_barrier_expander"}

    def room(remat):
        net = from_module(model, remat=remat)
        gradient = jax.grad(functools.partial(objective, net, inputs, None))
        program = jax.jit(gradient).lower(net.params).compile(compiler_options=ordered)
        return program.memory_analysis().temp_size_in_bytes

    assert room(True) < 0.5 * room(False)


def test_networks_without_layers_refuse_it():
    with pytest.raises(ValueError, match="remat is True; MLP has no transformer layers"):
        from_module(initialise(MLP_CONFIG, jax.random.key(0)), remat=True)
