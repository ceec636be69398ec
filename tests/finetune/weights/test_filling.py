"""Every tensor used or ignorable, every parameter filled, all misfits in one message."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from finetune.models import abstract
from finetune.weights.entries import Checkpoint, Entry
from finetune.weights.filling import fill
from finetune.weights.naming import named_leaves
from finetune.weights.saving import state_dict
from tests.finetune.models.tiny import CONFIGS, random_model

CONFIG = CONFIGS["bert"]
TENSORS = state_dict(random_model(CONFIG))


def checkpoint(arrays):
    entries = {
        name: Entry(a.shape, a.dtype.name, lambda a=a: a.copy()) for name, a in arrays.items()
    }
    return Checkpoint("file", entries)


def fresh(name, shape):
    return jnp.full(shape, 7.0)


def filled(arrays, **options):
    return fill(abstract(CONFIG), checkpoint(arrays), fresh, **options)


def agrees(model, arrays):
    got = state_dict(model)
    return all(np.array_equal(got[name], array) for name, array in arrays.items())


def without(*parts):
    return {k: v for k, v in TENSORS.items() if not k.startswith(parts)}


def test_every_parameter_is_filled():
    model = filled(TENSORS)
    assert model.fresh == ()
    assert agrees(model, TENSORS)
    assert {leaf.value.dtype for leaf in named_leaves(model).values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(dtype):
    stored = {name: array.astype(dtype) for name, array in TENSORS.items()}
    assert agrees(filled(stored), {n: a.astype(np.float32) for n, a in stored.items()})


def test_names_of_a_bare_encoder_and_of_old_files():
    encoder = without("classifier")
    bare = {name.removeprefix("bert."): array for name, array in encoder.items()}
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): array
        for name, array in bare.items()
    }
    for arrays in (encoder, bare, old):
        model = filled(arrays)
        assert agrees(model, encoder)
        assert model.fresh == ("classifier.bias", "classifier.weight")
        assert (model.classifier.kernel[...] == 7).all()


def test_what_belongs_to_other_tasks_is_ignored():
    others = {
        "cls.predictions.bias": np.zeros(50, np.float32),
        "qa_outputs.weight": np.zeros((2, 16), np.float32),
        "bert.embeddings.position_ids": np.arange(20),
    }
    assert agrees(filled({**TENSORS, **others}), TENSORS)


def test_mean_pooling_ignores_the_pooler():
    config = type(CONFIG)(**{**vars(CONFIG), "pooling": "mean"})
    model = fill(abstract(config), checkpoint(TENSORS), fresh)
    assert agrees(model, without("bert.pooler"))


def test_a_fresh_head():
    other = {**TENSORS, "classifier.weight": np.zeros((9, 16), np.float32)}
    with pytest.raises(ValueError, match=r"classifier\.weight has shape \(9, 16\)") as error:
        filled(other)
    assert "--head=new" in str(error.value) and "\n" not in str(error.value)
    model = filled(other, fresh_head=True)
    assert model.fresh == ("classifier.bias", "classifier.weight")
    assert agrees(model, without("classifier"))


def test_misfits_come_together():
    query = "bert.encoder.layer.0.attention.self.query"
    arrays = {
        **without("bert.encoder.layer.1.output.dense", "classifier.bias"),
        f"{query}.weight": np.zeros((16, 5), np.float32),
        f"{query}.bias": np.zeros(16, np.int64),
        "bert.encoder.layer.2.output.dense.bias": np.zeros(16, np.float32),
        "bert.embeddings.LayerNorm.gamma": np.zeros(16, np.float32),
    }
    with pytest.raises(ValueError) as error:
        filled(arrays)
    lines = str(error.value).splitlines()
    assert lines[0] == "file does not fit Bert:"
    assert [line.strip() for line in lines[1:]] == [
        "bert.embeddings.LayerNorm.weight is there twice, once as bert.embeddings.LayerNorm.gamma",
        f"{query}.bias has dtype int64; allowed are float16, bfloat16, float32, float64",
        f"{query}.weight has shape (16, 5); allowed is (16, 16)",
        "bert.encoder.layer.1.output.dense.bias is missing",
        "bert.encoder.layer.1.output.dense.weight is missing",
        "bert.encoder.layer.2.output.dense.bias is not known here",
        # Half a classifier is no fresh classifier.
        "classifier.bias is missing",
    ]


def test_non_finite_weights_are_refused():
    bad = {**TENSORS, "classifier.bias": np.array([0, np.nan, 1], np.float32)}
    with pytest.raises(ValueError, match=r"file: classifier\.bias contains NaN or infinity"):
        filled(bad)


def test_sharding():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    whole = NamedSharding(mesh, PartitionSpec())
    asked = []

    def by_name(name, shape):
        asked.append(name)
        return NamedSharding(mesh, PartitionSpec("data")) if shape == (16, 24) else whole

    model = filled(TENSORS, sharding=by_name)
    assert sorted(asked) == sorted(TENSORS)
    assert agrees(model, TENSORS)
    wide = model.bert.encoder.layer[0].intermediate.dense.kernel[...]
    assert wide.sharding.shard_shape(wide.shape) == (4, 24)
    assert filled(TENSORS, sharding=whole).classifier.bias[...].sharding == whole
