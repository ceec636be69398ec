"""Layers in a loop: one traced layer says what each of them says by itself."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune import optimiser
from finetune.methods import NAMES, MethodConfig, make
from finetune.models.llama_config import LlamaConfig, Qwen2Config
from finetune.models.modernbert_config import ModernBertConfig
from finetune.models.parts.depth import loops
from finetune.models.parts.layered import Layered
from finetune.models.parts.ops import PLAIN
from finetune.models.roberta import RobertaConfig
from finetune.models.t5_config import T5Config
from finetune.models.vit import ViTConfig
from finetune.training import network, packing, sharding, state, step
from finetune.training.devices import devices
from tests.finetune.models import tiny
from tests.finetune.models.tiny import CONFIGS, FAST, LLAMA, ROBERTA, batch, random_model

OPTIMISER = optimiser.OptimiserConfig(learning_rate=0.01)
# Two layers are a loop; of three one can be left out of it.
DEEP = {
    "llama": LlamaConfig(num_labels=2, **LLAMA),
    "bert": dataclasses.replace(CONFIGS["bert"], num_labels=2),
    "roberta": RobertaConfig(num_labels=2, **ROBERTA),
    "three": LlamaConfig(num_labels=2, **{**LLAMA, "num_hidden_layers": 3}),
    "distilbert": dataclasses.replace(CONFIGS["distilbert"], num_labels=2),
    "deberta": dataclasses.replace(CONFIGS["deberta-v2"], num_labels=2),
    "vit": ViTConfig(
        num_labels=2,
        **{"image_size": 4, "patch_size": 2, "num_channels": 1, "hidden_size": 8},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12},
        **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    ),
    # The first block of a stack has the table of distances.
    "t5": T5Config(num_labels=2, **{**tiny.T5, "num_layers": 3}),
    # The first layer has one norm less; then two kinds take turns.
    "modernbert": ModernBertConfig(
        **{"num_labels": 2, "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24},
        **{"num_hidden_layers": 5, "num_attention_heads": 4, "local_attention": 6},
        **{"global_attn_every_n_layers": 2, "attention_dropout": 0.1, "mlp_dropout": 0.1},
    ),
}
thorough = functools.partial(pytest.param, marks=pytest.mark.thorough)


@functools.cache
def net(kind, scan=0, remat=False):
    return network.from_module(random_model(DEEP[kind]), remat=remat, scan=scan)


def loss(logits, labels, weight):
    entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
    return (entropy * weight).sum() / weight.sum()


def rows():
    inputs = {n: v for n, v in batch().items() if n != "token_type_ids"}
    inputs["input_ids"][:, 0] = 1  # the end of a text, which a T5 reads
    inputs["pixels"] = np.linspace(-1, 1, 48, dtype=np.float32).reshape(3, 16)
    return {**inputs, "labels": np.array([0, 1, 1]), "weight": np.ones(3, np.float32)}


def prepared(name, base, settings, modules=None):
    """State with changes that are not zero, and the step."""
    rank = {} if name in ("full", "head", "untouched") else {"rank": 2}
    method = make(MethodConfig(name, **rank), OPTIMISER, 20)
    paths = base.adapted(modules) if method.beside == "head" else ()
    head, tx = base.trained(True, method.beside), optimiser.optimiser(OPTIMISER, 20)
    kernels = base.kernels(paths)
    first = state.start(method, kernels, head, tx, jax.random.key(1), kernels)
    moved = jax.tree.map(
        lambda leaf: (
            leaf + 0.05 * jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
        ),
        first.theta,
    )
    return first._replace(theta=moved), method, step.train_step(base, method, loss, tx, settings)


def derivative(base, name):
    """State and loss with gradients, under both dropouts: every layer draws its own masks."""
    settings = step.StepConfig(adapter_dropout=0.2)
    now, method, _ = prepared(name, base, settings)

    def grads(now, params, data):
        key = jax.random.key(3)
        target = step.objective(base, method, loss, tuple(now.theta), params, data, settings, key)
        return method.grads(target, now.theta, now.aux, now.head, now.step, key)[:3]

    return now, jax.jit(grads, compiler_options=FAST)


@functools.cache
def gradients(name, *which):
    now, grads = derivative(net(*which), name)
    return grads(now, net(*which).params, rows())


def logits(base, name, modules=None):
    now, method, _ = prepared(name, base, step.StepConfig(), modules)
    forward = jax.jit(step.predict(base, method), compiler_options=FAST)
    return forward(now.theta, now.aux, now.head, base.params, rows())


def close(found, wanted, tolerance=1e-5):
    found, wanted = (jax.tree.leaves_with_path(tree) for tree in (found, wanted))
    assert [path for path, _ in found] == [path for path, _ in wanted]
    largest = max(float(np.abs(leaf).max()) for _, leaf in wanted)
    for (path, leaf), (_, other) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(leaf, other, atol=tolerance * largest, err_msg=str(path))


@pytest.mark.thorough  # steps of a packed state below, other families by their outputs
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("lora", "llama"), ("dora", "llama"), ("adapad", "llama")),
        *(("lora", k) for k in DEEP if k not in ("llama", "three")),
    ],
)
def test_loss_and_gradients_of_the_loop_are_those_of_each_layer(name, kind):
    close(*(gradients(name, kind, scan) for scan in (2, 0)))


@pytest.mark.parametrize(
    ("name", "kind"), [thorough("dora", "llama"), ("adapad", "llama"), thorough("lora", "bert")]
)
def test_the_loop_predicts_what_its_layers_do(name, kind):
    close(*(logits(net(kind, scan), name) for scan in (2, 0)))


@pytest.mark.parametrize(
    ("kind", "lengths"),
    [
        thorough("distilbert", [2]),  # BERT by other names
        ("vit", [2]),
        # Which of their layers are alike is what the next test says.
        thorough("deberta", [2]),
        thorough("t5", [2, 2]),
        thorough("modernbert", [2, 2]),
    ],
)
def test_other_families_say_in_the_loop_what_they_say_layer_by_layer(kind, lengths):
    def logits(base):
        key = jax.random.key(3)  # with dropout
        forward = jax.jit(lambda p: base.forward(p, rows(), PLAIN, key), compiler_options=FAST)
        return forward(base.params)

    assert [len(run) for run in net(kind, 2).runs] == lengths
    np.testing.assert_allclose(*map(logits, (net(kind, 2), net(kind))), rtol=1e-5, atol=1e-5)


def test_kinds_that_take_turns_are_one_loop():
    model = random_model(DEEP["modernbert"])
    parts = [(list(part.layers), part.period) for part in loops(model.model.layers, 4)]
    assert parts == [([0], 1), ([1, 2, 3, 4], 2)]
    assert all(part.period == len(part.layers) == 1 for part in loops(model.model.layers, 5))
    # Some alike before others that are not.
    parts = loops([model.model.layers[i] for i in (1, 3, 0, 2)], 2)
    assert [(list(part.layers), part.period) for part in parts] == [([0, 1], 1), ([2], 1), ([3], 1)]
    first = "model.layers."
    assert net("modernbert", 2).runs == tuple((f"{first}{i}", f"{first}{i + 2}") for i in (1, 2))


def scans(base, name, modules=None, params=None):
    """Lengths of the loops of a forward pass."""
    now, method, _ = prepared(name, base, step.StepConfig(), modules)
    forward = step.predict(base, method)
    program = jax.make_jaxpr(forward)(now.theta, now.aux, now.head, base.params, rows())
    return [e.params["length"] for e in program.eqns if e.primitive.name == "scan"]


def test_layers_that_an_adapter_leaves_out_are_traced_by_themselves():
    first_only = r"layers\.0\..*q_proj"
    assert scans(net("three", 2), "lora") == [3]
    assert scans(net("three", 2), "lora", first_only) == [2]
    assert scans(net("three", 3), "lora", first_only) == []  # two alike are too few
    assert scans(net("three"), "lora") == []
    close(*(logits(net("three", scan), "lora", first_only) for scan in (2, 0)))


@pytest.mark.thorough  # kinds of layers are told apart above
def test_layers_of_one_window_are_alike():
    sizes = {**LLAMA, "num_hidden_layers": 4}
    windows = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
    config = Qwen2Config(num_labels=2, **sizes, **windows)
    parts = loops(random_model(config).model.layers, 2)
    assert [list(part.layers) for part in parts] == [[0], [1, 2, 3]]
    base = network.from_module(random_model(config), scan=2)
    assert base.runs == (("model.layers.1", "model.layers.2", "model.layers.3"),)
    plain = network.from_module(random_model(config))
    found, wanted = (
        jax.jit(n.forward, static_argnums=2, compiler_options=FAST)(n.params, rows(), PLAIN, None)
        for n in (base, plain)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_parameters_keep_their_names():
    base, plain = net("three", 2), net("three")
    assert isinstance(base.params, Layered)
    assert set(base.params) == set(plain.params) and base.linears == plain.linears
    assert network.digest(base.params) == network.digest(plain.params)
    assert len(jax.tree.leaves(base.params)) < len(plain.params) / 2


# Others step by the same functions over a table as LoRA. Full kernels, and tables of roles in a
# module (sora), of a loop (galore), of all modules at once (adalora) and of levels (adapad) are
# compared when asked for.
ONE_OF_EACH = ("head", "untouched", "lora")


@pytest.mark.parametrize(
    "name",
    [
        name if name in ONE_OF_EACH else thorough(name)
        for name in NAMES
        if MethodConfig(name).layerwise
    ],
)
def test_a_packed_state_takes_the_same_steps(name):
    results = []
    for scan in (0, 2):
        base = net("llama", scan)
        now, _, one = prepared(name, base, step.StepConfig())
        now = packing.packed(now, base.runs)
        one = jax.jit(one, compiler_options=FAST)
        for _ in range(2):
            now, metrics = one(now, base.params, rows())
        results.append((packing.unpacked(now)._replace(key=jnp.zeros(())), metrics))
    # Adam divides by the root of squares: rounding of small gradients is rounding of a step.
    close(*results, tolerance=1e-3)


def test_recomputed_layers_are_scanned_too():
    assert scans(net("llama", 2, True), "lora") == scans(net("llama", 2), "lora") == [2]


@pytest.mark.thorough  # what is recomputed has the same gradients, and so have the layers of a loop
def test_recomputed_layers_of_a_loop_have_the_same_gradients():
    close(gradients("lora", "llama", 2, True), gradients("lora", "llama", 2))


def test_layers_are_scanned_where_parameters_are_cut():
    base, plain = net("llama", 2), net("llama")
    whole = sharding.network(devices({"shard": 4}), base)
    forward = jax.jit(lambda params: whole.forward(params, rows(), PLAIN, None))
    wanted = jax.jit(lambda params: plain.forward(params, rows(), PLAIN, None))(plain.params)
    np.testing.assert_allclose(forward(whole.params), wanted, rtol=1e-4, atol=1e-5)
    for stack in jax.tree.leaves(whole.params.stacks):
        if stack.ndim == 3:  # every device has a part of every layer
            assert stack.sharding.shard_shape(stack.shape)[0] == 2
            assert stack.sharding.shard_shape(stack.shape) != stack.shape


@pytest.mark.thorough  # that it is a loop is held above
def test_the_loop_keeps_no_more_than_the_layers():
    config = LlamaConfig(num_labels=2, **{**LLAMA, "num_hidden_layers": 3, "hidden_size": 32})
    many = jax.tree.map(lambda leaf: np.repeat(leaf, 8, axis=0), rows())
    held = {}
    for scan in (0, 2):
        base = network.from_module(random_model(config), scan=scan)
        now, grads = derivative(base, "lora")
        found = grads.lower(packing.packed(now, base.runs), base.params, many).compile()
        held[scan] = found.memory_analysis().temp_size_in_bytes
    assert held[2] < 1.05 * held[0]


def test_arrays_that_are_put_together_are_let_go():
    base = net("llama", 2)
    now, _, _ = prepared("lora", base, step.StepConfig())
    leaves = jax.tree.leaves((now.theta, now.opt))
    both = packing.packed(now, base.runs, release=True)
    matrices = [leaf for leaf in leaves if leaf.ndim]
    assert matrices and all(leaf.is_deleted() for leaf in matrices)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(both))
