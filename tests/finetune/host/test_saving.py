"""States in files: the same to the bit, and of nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import finetune
from finetune.host.adapting import adapt
from tests.finetune.host.own_models import loss, net, rows
from tests.finetune.host.test_adapted import KEY, same, thorough, trained


@pytest.mark.parametrize("method", ["adapad", "full", *map(thorough, ("dora", "cola", "welore"))])
def test_what_is_saved_is_loaded_to_the_bit(tmp_path, method):
    batch = rows()
    options = {} if method in ("welore", "full") else {"rank": 2}
    tuned = adapt(loss, net(), batch, method, steps=20, train=("w",), **options)
    state = trained(tuned, batch, 2)
    tuned.save(tmp_path / "tuned.safetensors", state)
    read = tuned.load(tmp_path / "tuned.safetensors", state)
    same(read, state)
    fresh = tuned.load(tmp_path / "tuned.safetensors")
    assert tuned.bind(loss)(fresh, batch) == tuned.bind(loss)(state, batch)
    state, _ = tuned.step(fresh, batch)  # and it can be trained on
    assert tuned._compiled._cache_size() == 1


def test_a_file_of_something_else_is_refused(tmp_path):
    batch, path = rows(), tmp_path / "tuned.safetensors"
    tuned = adapt(loss, net(), batch, "lora", steps=20, rank=2)
    tuned.save(path, tuned.init(KEY))
    other = adapt(loss, net(), batch, "lora", steps=20, rank=3)
    with pytest.raises(ValueError, match="has other settings: rank is 2 there and 3 here"):
        other.load(path)
    other = adapt(loss, net(), batch, "lora", steps=20, rank=2, modules="fc")
    with pytest.raises(ValueError, match=r"has other kernels: w is .* there and None here"):
        other.load(path)
    with pytest.raises(ValueError, match=r"no\.safetensors is no state"):
        tuned.load(tmp_path / "no.safetensors")
    moved = jax.tree.map(lambda w: w + 1e-3, net())
    with pytest.raises(ValueError, match="has other base weights"):
        adapt(loss, moved, batch, "lora", steps=20, rank=2).load(path)
    finetune.save_adapter(path, tuned.export(tuned.init(KEY)))
    with pytest.raises(ValueError, match="is no state that"):
        tuned.load(path)


def test_numbers_of_other_libraries_are_settings_that_are_saved(tmp_path):
    own = {"rank": np.int64(2), "alpha": jnp.float32(8)}
    tuned = adapt(loss, net(), rows(), "lora", steps=20, **own)
    tuned.save(tmp_path / "a", tuned.init(KEY))
    assert adapt(loss, net(), rows(), "lora", steps=20, rank=2, alpha=8.0).load(tmp_path / "a")
