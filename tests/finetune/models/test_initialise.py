"""Random parameters: the right size, and a function of key and name alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models import abstract, initialise
from finetune.models.initialise import parameter
from finetune.weights.saving import state_dict
from tests.finetune.models.tiny import CONFIGS, MLP_CONFIG

KEY = jax.random.key(0)


def test_transformers():
    config = CONFIGS["bert"]
    table = parameter(config, KEY, "a.weight", (100, 40))
    # 4000 draws of standard deviation initializer_range: 4 standard errors of the estimate.
    assert abs(float(table.std()) / 0.02 - 1) < 4 / np.sqrt(2 * 4000)
    assert table.dtype == jnp.float32
    assert (parameter(config, KEY, "a.LayerNorm.weight", (3,)) == 1).all()
    assert (parameter(config, KEY, "a.bias", (3,)) == 0).all()


def test_mlp():
    kernel = parameter(MLP_CONFIG, KEY, "fc1.weight", (100, 40))
    # Uniform on [-0.1, 0.1], for 100 inputs.
    assert 0.099 < float(jnp.abs(kernel).max()) <= 0.1


def test_values_depend_on_key_and_name():
    config = CONFIGS["bert"]
    first = parameter(config, KEY, "a.weight", (4, 4))
    assert (parameter(config, KEY, "a.weight", (4, 4)) == first).all()
    assert (parameter(config, KEY, "b.weight", (4, 4)) != first).any()
    assert (parameter(config, jax.random.key(1), "a.weight", (4, 4)) != first).any()


def test_a_whole_model():
    tensors = state_dict(initialise(MLP_CONFIG, KEY))
    assert {name: array.shape for name, array in tensors.items()} == {
        "fc1.bias": (8,),
        "fc1.weight": (8, 12),
        "fc2.bias": (8,),
        "fc2.weight": (8, 8),
        "fc3.bias": (3,),
        "fc3.weight": (3, 8),
    }
    np.testing.assert_array_equal(
        tensors["fc1.weight"].T, parameter(MLP_CONFIG, KEY, "fc1.weight", (12, 8))
    )
    with pytest.raises(ValueError, match="dtype is int32; allowed are floating dtypes"):
        abstract(MLP_CONFIG, "int32")
