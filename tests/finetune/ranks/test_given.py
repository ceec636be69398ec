"""Ranks of a file: what is read, whose they are, and that nothing else trains."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters.method import Run
from finetune.methods import MethodConfig, make
from finetune.methods.lora import LoraConfig, lora
from finetune.optimiser import OptimiserConfig
from finetune.ranks import given

KERNELS = {f"bert.{name}": jnp.ones((6, 5)) for name in ("key", "query", "value")}
RANKS = {"bert.key": 3, "bert.query": 1, "bert.value": 0}


def made(name, tmp_path, **options):
    file = tmp_path / "ranks.json"
    file.write_text(json.dumps(RANKS))
    config = MethodConfig(name, rank=2, ranks=str(file), **options)
    method = make(config, OptimiserConfig(learning_rate=0.1), total=10)
    return method, *method.prepare(jax.random.key(0), KERNELS, None)


@pytest.mark.parametrize(
    "content",
    [
        RANKS,
        {"ranks": RANKS, "score": 0.5},
        {"action": "extract", "modules": {p: {"rank": r, "norm": 1.0} for p, r in RANKS.items()}},
    ],
)
def test_what_is_read(content, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert given.read(tmp_path / "x.json") == RANKS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ('{"ranks": {"a": 1.5}}', "has rank 1.5 for 'a'; allowed are integers from 0"),
        ('{"a": true}', "has rank True for 'a'"),
        ('{"a": -1}', "has rank -1 for 'a'"),
        ('{"modules": {"a": {}}}', "has rank None for 'a'"),
        ('{"ranks": [1, 2]}', r"has rank \[1, 2\] for 'ranks'"),
        ('{"a": 0}', "has no rank above 0"),
        ("{}", "has no rank above 0"),
    ],
)
def test_what_is_refused(text, words, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        given.read(tmp_path / "x.json")
    config = MethodConfig("lora", ranks=str(tmp_path / "x.json"))
    with pytest.raises(ValueError, match=f"^ranks: .*{words}"):
        make(config, OptimiserConfig(), total=10)


def test_names_with_more_or_fewer_parts_in_front():
    expected = {"bert.key": 2, "bert.query": 1, "bert.value": 0}
    assert given.of_paths({"key": 2, "model.bert.query": 1}, KERNELS) == expected
    for names, words in ({"other": 1}, "is none"), ({"a.key": 1}, "is none"):
        with pytest.raises(ValueError, match=f"{words}; allowed are names of one each"):
            given.of_paths(names, KERNELS)
    with pytest.raises(ValueError, match=r"is one\.key, other\.key; allowed"):
        given.of_paths({"key": 1}, ["one.key", "other.key"])


@pytest.mark.parametrize(("name", "scale"), [("lora", 8.0), ("rslora", 16 / 2**0.5)])
def test_the_first_components_are_those_of_lora_and_the_scale_is_that_of_rank(
    name, scale, tmp_path
):
    method, theta, aux = made(name, tmp_path)
    found = {path: int(rank) for path, rank in method.ranks(theta, aux).items()}
    assert found == RANKS
    plain = lora(LoraConfig(rank=2), Run(OptimiserConfig(), 10))
    first, _ = plain.prepare(jax.random.key(0), KERNELS, None)
    for path, rank in RANKS.items():
        np.testing.assert_allclose(aux[path]["gain"], [scale] * rank + [0] * (3 - rank), rtol=1e-6)
        assert np.array_equal(theta[path]["a"][:, :2], first[path]["a"])


def test_nothing_but_the_live_components_trains_or_is_exported(tmp_path):
    method, theta, aux = made("lora", tmp_path)
    x = jnp.arange(12.0).reshape(2, 6)

    def loss(theta):
        outs = [method.apply(x, KERNELS[p], theta[p], aux[p], lambda x: x) for p in KERNELS]
        return sum(jnp.mean((y - 1) ** 2) for y in outs)

    opt = method.tx.init(theta)
    start = theta
    for step in range(3):
        updates, opt = method.tx.update(jax.grad(loss)(theta), opt, theta, step=step)
        theta = jax.tree.map(jnp.add, theta, updates)
    for path, rank in RANKS.items():
        change = np.abs(theta[path]["b"] - start[path]["b"]).max(axis=1) > 0
        assert change.tolist() == [True] * rank + [False] * (3 - rank)
        out = method.export(KERNELS[path], theta[path], aux[path])
        assert out.a.shape == (6, rank) and out.b.shape == (rank, 5)
