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

# As a stranger writes it: `matmul` puts the rows of x into one axis, and where that is done outside
# of the method's arithmetic XLA fuses other loops with it (10 % more operations for DoRA).
USUAL = PLAIN._replace(
    linear=lambda path, x, kernel: jnp.matmul(x, kernel, precision=jax.lax.Precision.HIGHEST)
)


def cost(function, *arguments):
    """Floating operations and bytes of temporaries, by the compiler's count."""
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes


class Gradients:
    """Of the same method on the same model, by its two ways in."""

    def __init__(self, method):
        sizes = {**BERT, "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 128}
        model = initialise(BertConfig(num_labels=2, **sizes), jax.random.key(0))
        ids = jnp.ones((8, 16), jnp.int32)
        self.batch = {"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids}
        self.network = from_module(model)
        paths = self.network.adapted()

        def loss(model, batch):
            return jnp.mean(model(batch, USUAL, None).logits ** 2)

        pattern = f"^({'|'.join(paths)})$"
        self.tuned = adapt(loss, model, self.batch, method, steps=9, rank=2, modules=pattern)
        self.state = self.tuned.init(jax.random.key(0))
        assert set(self.state.theta) == set(paths)

    def ops(self, theta):
        return adapted(self.tuned.method, theta, self.state.aux)

    def found(self):
        """By the products that `adapt` finds."""

        def loss(theta, arrays):
            return self.tuned._network.forward(arrays, self.batch, self.ops(theta), None)

        return cost(jax.grad(loss), self.state.theta, self.tuned.base)

    def written(self):
        """By the operations that the model names."""

        def loss(theta, params):
            return jnp.mean(self.network.forward(params, self.batch, self.ops(theta), None) ** 2)

        return cost(jax.grad(loss), self.state.theta, self.network.params)

    def summed(self):
        """By kernels W + a b."""

        def loss(theta, params):
            changed = {
                f"{p}.weight": params[f"{p}.weight"] + t["a"] @ t["b"] for p, t in theta.items()
            }
            return jnp.mean(
                self.network.forward({**params, **changed}, self.batch, PLAIN, None) ** 2
            )

        return cost(jax.grad(loss), self.state.theta, self.network.params)


@pytest.mark.thorough  # others below
def test_found_products_cost_what_written_ones_cost_and_changed_kernels_more():
    lora = Gradients("lora")
    found = lora.found()
    assert found == lora.written()
    assert lora.summed()[0] > 1.15 * found[0]


@pytest.mark.thorough
def test_of_a_method_that_multiplies_by_the_kernel_twice():
    dora = Gradients("dora")
    assert dora.found() == dora.written()


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
