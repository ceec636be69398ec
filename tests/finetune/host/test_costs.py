"""What the products found in a trace cost: what written operations cost, and no more."""

import jax
import jax.numpy as jnp
import pytest

from finetune.host.adapting import adapt
from finetune.models import initialise
from finetune.models.bert import BertConfig
from finetune.models.parts.ops import PLAIN
from finetune.training.adapted_ops import adapted
from finetune.training.network import from_module
from tests.finetune.models.tiny import BERT


def cost(function, *arguments):
    """Floating operations and bytes of temporaries, by the compiler's count."""
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes


@pytest.fixture(scope="module")
def bert():
    """Gradients of LoRA by `adapt`, by the model's own operations, and by W + D."""
    sizes = {**BERT, "hidden_size": 64, "intermediate_size": 128}
    model = initialise(BertConfig(num_labels=2, **sizes), jax.random.key(0))
    ids = jnp.ones((8, 16), jnp.int32)
    batch = {"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids}
    network = from_module(model)
    paths = network.adapted()

    def loss(model, batch):
        return jnp.mean(model(batch, PLAIN, None).logits ** 2)

    pattern = f"^({'|'.join(paths)})$"
    tuned = adapt(loss, model, batch, "lora", steps=9, rank=2, modules=pattern)
    state = tuned.init(jax.random.key(0))
    assert set(state.theta) == set(paths)

    def found(theta, arrays):
        ops = adapted(tuned.method, theta, state.aux)
        return tuned._network.forward(arrays, batch, ops, None)

    def written(theta, params):
        ops = adapted(tuned.method, theta, state.aux)
        return jnp.mean(network.forward(params, batch, ops, None) ** 2)

    def summed(theta, params):
        changed = {f"{p}.weight": params[f"{p}.weight"] + t["a"] @ t["b"] for p, t in theta.items()}
        return jnp.mean(network.forward({**params, **changed}, batch, PLAIN, None) ** 2)

    given = {"found": (found, tuned.base), "written": (written, network.params)}
    given["summed"] = (summed, network.params)
    return {name: cost(jax.grad(f), state.theta, arrays) for name, (f, arrays) in given.items()}


def test_products_cost_what_written_operations_cost(bert):
    assert bert["found"] == bert["written"]


def test_changed_kernels_cost_more(bert):
    assert bert["summed"][0] > 1.15 * bert["found"][0]


def test_stacked_kernels_stay_whole():
    """Cutting and stacking them in the step would take all of them once more."""
    layers, size = 8, 64
    keys = jax.random.split(jax.random.key(0), 2)
    draw = (jax.random.normal(key, (layers, size, size)) / 8 for key in keys)
    model = dict(zip(("up", "down"), draw, strict=True))

    def loss(model, x):
        def layer(x, weights):
            return x + jax.nn.relu(x @ weights["up"]) @ weights["down"], None

        return jnp.mean(jax.lax.scan(layer, x, model)[0] ** 2)

    x = jnp.ones((2, size))
    tuned = adapt(loss, model, x, "lora", steps=9, rank=1)
    state = tuned.init(jax.random.key(0))

    def gradient(theta, arrays):
        ops = adapted(tuned.method, theta, state.aux)
        return tuned._network.forward(arrays, x, ops, None)

    kernels = sum(leaf.nbytes for leaf in tuned.base.values())
    assert cost(jax.grad(gradient), state.theta, tuned.base)[1] < kernels / 2
    assert tuple(sorted(state.theta))[:2] == ("0.down", "0.up")
