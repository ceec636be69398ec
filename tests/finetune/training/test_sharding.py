"""Parameters cut over devices: what each holds, what a step sends, and that results stay."""

import functools
import re
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune import optimiser
from finetune.methods import MethodConfig, make
from finetune.models import load
from finetune.models.llama_config import LlamaConfig
from finetune.models.parts.ops import PLAIN
from finetune.tasks.generation import generate
from finetune.training import network, sharding, state, step
from finetune.training.devices import cut, devices, parse, rows
from finetune.weights import filling
from rankwise.devices import fetched
from tests.finetune.models.tiny import DATA, LLAMA, T5_CONFIG, pairs, random_model

SIZES = {**LLAMA, "vocab_size": 96, "hidden_size": 32, "intermediate_size": 64}
OPTIMISER = optimiser.OptimiserConfig(learning_rate=0.01, name="sgd")
# As compilers for accelerators do, and the host's does not: barriers order the program.
ORDERED = {"xla_disable_hlo_passes": "cse_barrier_expander"}
MESHES = [{"shard": 4}, {"data": 2, "shard": 2}]


@functools.cache
def net():
    return network.from_module(random_model(LlamaConfig(num_labels=2, **SIZES)))


def loss(logits, labels, weight):
    entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
    return (entropy * weight).sum() / weight.sum()


def batch():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 96, (8, 6)).astype(np.int32)
    rest = {"labels": ids[:, 0] % 2, "weight": np.ones(8, np.float32)}
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), **rest}


def prepared(name, places):
    """Network, state and the step that is not compiled."""
    method, cut_net = make(MethodConfig(name), OPTIMISER, 10), sharding.network(places, net())
    paths = () if method.beside != "head" else cut_net.adapted()
    tx = optimiser.optimiser(OPTIMISER, 10)
    head = cut_net.trained(True, method.beside)
    first = state.start(method, cut_net.kernels(paths), head, tx, jax.random.key(1))
    return cut_net, first, step.train_step(cut_net, method, loss, tx, step.StepConfig())


@functools.cache
def trained(name, *sizes, steps=2):
    places = devices(dict(sizes))
    cut_net, now, one = prepared(name, places)
    now, one = places.state(now), places.jit_step(one)
    for _ in range(steps):
        now, metrics = one(now, cut_net.params, places.dealt(batch()))
    return now, metrics


def share(leaves, device):
    """The part of all bytes that a device holds."""
    leaves = list(leaves)
    own = sum(s.data.nbytes for x in leaves for s in x.addressable_shards if s.device == device)
    return own / sum(leaf.nbytes for leaf in leaves)


def test_axes():
    assert parse(["data:2", "shard:4"]) == {"data": 2, "shard": 4}
    assert rows({"data": 2, "shard": 4}) == 8 and rows({"level": 3}) == 1
    with pytest.raises(ValueError, match="mesh has level and shard; allowed is one of them"):
        parse(["level:2", "shard:2"])
    assert cut((6, 4), 4) == jax.P(None, "shard") and cut((6, 6), 4) == jax.P()
    assert cut((8, 8, 2), 2) == jax.P("shard")


@pytest.mark.parametrize("name", ["llama", pytest.param("t5_gated", marks=pytest.mark.thorough)])
def test_every_device_holds_its_part(name):
    places = devices({"shard": 4})
    _, whole = load(DATA / name, labels=0, key=jax.random.key(0))
    _, model = load(DATA / name, labels=0, key=jax.random.key(0), sharding=places.of_parameter)
    parts, result = (network.from_module(m).params for m in (whole, model))
    for device in places.mesh.devices.flat:
        assert share(result.values(), device) < 0.27
    for leaf_name, leaf in result.items():
        np.testing.assert_array_equal(fetched(leaf), parts[leaf_name])
        assert leaf.ndim < 2 or "relative" in leaf_name or not leaf.is_fully_replicated
    assert network.digest(result) == network.digest(parts)


def test_one_leaf_at_a_time(monkeypatch):
    """What was read of one leaf is gone when the next one is read."""
    alive, most, read = [], [], filling._read

    def counted(*arguments):
        most.append(sum(reference() is not None for reference in alive))
        value = read(*arguments)
        alive.append(weakref.ref(value))
        return value

    monkeypatch.setattr(filling, "_read", counted)
    where = devices({"shard": 4}).of_parameter
    load(DATA / "llama", labels=0, key=jax.random.key(0), sharding=where)
    assert len(most) == 21 and max(most) == 0


# What a step of LoRA sends is looked at below.
CASES = [
    (sizes, name)
    if (sizes, name) == (MESHES[1], "full")
    else pytest.param(sizes, name, marks=pytest.mark.thorough)
    for sizes in MESHES
    for name in ("lora", "full")
]


@pytest.mark.parametrize(("sizes", "name"), CASES, ids=str)
def test_a_step_is_the_same(sizes, name):
    (expected, first), (got, second) = trained(name), trained(name, *sizes.items())
    for key in ("loss", "gradient_norm"):
        assert float(second[key]) == pytest.approx(float(first[key]), rel=1e-5)
    for ours, reference in zip(
        jax.tree.leaves(got[:5]), jax.tree.leaves(expected[:5]), strict=True
    ):
        np.testing.assert_allclose(fetched(ours), reference, atol=1e-5)


def test_what_is_trained_whole_is_cut_with_its_moments():
    adam = optimiser.optimiser(optimiser.OptimiserConfig(), 10)
    places = devices({"shard": 4})
    cut_net, *_ = prepared("full", places)
    fresh = state.start(
        make(MethodConfig("full"), OPTIMISER, 10), {}, cut_net.params, adam, jax.random.key(0)
    )
    # Already before it is put in its place: no device ever holds the moments of all.
    for now in (fresh, places.state(fresh)):
        wide = [leaf for leaf in jax.tree.leaves(now.head_opt) if leaf.ndim == 2]
        assert len(wide) == 2 * sum(leaf.ndim == 2 for leaf in cut_net.params.values())
        assert share([*wide, *now.head.values()], places.mesh.devices.flat[1]) < 0.27
    now, _ = trained("full", *MESHES[1].items())
    assert share(now.head.values(), places.mesh.devices.flat[1]) < 0.52


def test_what_a_step_sends():
    """Kernels are gathered, forwards and backwards; activations stay where they are."""
    places = devices({"shard": 4})
    cut_net, first, one = prepared("lora", places)
    first = places.state(first)
    out = (places.of_state(first), places.everywhere)
    program = jax.jit(one, out_shardings=out).lower(first, cut_net.params, places.dealt(batch()))
    compiled = program.compile()
    text = compiled.as_text()
    sent = {
        kind: len(re.findall(rf" {kind}(?:-start)?\(", text))
        for kind in ("all-gather", "all-to-all", "collective-permute")
    }
    maps, tables = len(cut_net.linears), 1
    assert sent["all-to-all"] == sent["collective-permute"] == 0
    # The backward pass ends at the adapters of the first layer, and the table is no part of it.
    assert maps + tables < sent["all-gather"] <= 2 * maps + tables
    whole = sum(leaf.nbytes for leaf in cut_net.params.values())
    assert compiled.memory_analysis().argument_size_in_bytes < 0.5 * whole


@pytest.mark.thorough  # what a step sends is counted above
def test_gathered_kernels_are_not_kept():
    """Room for a few of them, not for the network."""
    sizes = {**LLAMA, "vocab_size": 8, "hidden_size": 128, "intermediate_size": 256}
    model = random_model(LlamaConfig(num_labels=2, **{**sizes, "num_hidden_layers": 5}))
    places = devices({"shard": 4})
    cut_net = sharding.network(places, network.from_module(model))
    data = {"input_ids": np.ones((4, 1), np.int32), "attention_mask": np.ones((4, 1), np.int32)}

    def objective(params, inputs):
        return cut_net.forward(params, inputs, PLAIN, None).sum()

    out = {n: leaf.sharding for n, leaf in cut_net.params.items()}
    whole = sum(leaf.nbytes for leaf in cut_net.params.values())
    forward, gradient = jax.jit(objective), jax.jit(jax.grad(objective), out_shardings=out)
    for program, most in ((forward, 0.15), (gradient, 0.3)):
        lowered = program.lower(cut_net.params, places.dealt(data))
        memory = lowered.compile(compiler_options=ORDERED).memory_analysis()
        assert memory.temp_size_in_bytes < most * whole


@pytest.mark.thorough  # a step on the same cut network is held above
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_the_same_words(kind):
    config = LlamaConfig(num_labels=0, **SIZES) if kind == "llama" else T5_CONFIG
    plain, inputs = network.from_module(random_model(config)), pairs(size=4)

    def words(net, inputs):
        def run(params, inputs):
            return generate(
                lambda x: net.begin(params, x, PLAIN, 5),
                lambda cache, tokens: net.advance(params, cache, tokens, PLAIN),
                inputs,
                length=5,
                stop=(),
                pad=0,
            )

        return np.asarray(jax.jit(run)(net.params, inputs))

    places = devices({"shard": 2})
    got = words(sharding.network(places, plain), places.dealt(inputs))
    np.testing.assert_array_equal(got, words(plain, inputs))
