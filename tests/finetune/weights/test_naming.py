"""The tree of a model is its key table."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from finetune.models import abstract, read_config
from finetune.weights.naming import named_leaves, rebuild
from tests.finetune.models.tiny import DATA, GOLDEN, MLP_CONFIG, random_model


@pytest.mark.parametrize("name", GOLDEN)
def test_names_are_those_of_the_checkpoint(name):
    model = abstract(read_config(DATA / name, labels=2))
    with safe_open(DATA / name / "model.safetensors", "np") as file:
        stored = {
            f"{model.base}.{key}": tuple(file.get_slice(key).get_shape())
            for key in list(file.keys())
        }
    leaves = {key: leaf.stored_shape for key, leaf in named_leaves(model).items()}
    encoder = {key: shape for key, shape in leaves.items() if key.startswith(f"{model.base}.")}
    assert encoder == stored


def test_rebuild():
    model = random_model(MLP_CONFIG)
    leaves = named_leaves(model)
    assert leaves["fc1.weight"].transposed
    assert not leaves["fc1.bias"].transposed
    other = rebuild(model, {name: jnp.ones(leaf.shape) for name, leaf in leaves.items()})
    np.testing.assert_array_equal(other.fc2.kernel[...], 1)
    assert not np.array_equal(model.fc2.kernel[...], 1)
    with pytest.raises(KeyError):
        rebuild(model, {})
