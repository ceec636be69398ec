"""Which axes of a model's arrays are inputs, outputs and stacks, and how the kernels are called."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

from finetune.host.model import parts
from finetune.host.network import examined
from tests.finetune.host.own_models import MODELS, D, cross_entropy, model, pytree, tokens

ATTENTION = {  # the array of a block -> stack, in, out
    "attn.q.kernel": ((), (0,), (1, 2)),
    "attn.kv.kernel": ((), (1,), (0, 2, 3)),
    "attn.o.kernel": ((), (0, 1), (2,)),
    "up.kernel": ((), (0,), (1,)),
    "down.kernel": ((), (0,), (1,)),
}


def found(name):
    loss = MODELS[name][1]
    modules = examined(loss, parts(model(name)), tokens()).modules
    return {n: (m.stack, m.ins, m.outs) for n, m in modules.items()}, modules


def test_kernels_of_several_axes():
    axes, modules = found("listed")
    expected = {f"blocks.0.{n}": roles for n, roles in ATTENTION.items()}
    assert axes == {**expected, "embed.embedding": ((), (0,), (1,))}
    assert modules["embed.embedding"].kind == "rows"
    assert modules["blocks.0.up.kernel"].paths == ("blocks.0.up",)


@pytest.mark.parametrize("name", ["scanned", pytest.param("remat", marks=pytest.mark.thorough)])
def test_stacked_layers_are_called_as_in_a_list(name):
    axes, modules = found(name)

    def later(group):
        return tuple(i + 1 for i in group)

    expected = {
        f"blocks.{n}": ((0,), later(ins), later(outs)) for n, (_, ins, outs) in ATTENTION.items()
    }
    assert axes == {**expected, "embed.embedding": ((), (0,), (1,))}
    assert modules["blocks.up.kernel"].paths == ("blocks.0.up", "blocks.1.up")


def test_torch_layout_and_experts():
    axes, modules = found("pytree")
    assert axes == {
        "embed": ((), (0,), (1,)),
        "w": ((), (1,), (0,)),
        "v": ((), (1,), (0,)),
        "experts": ((0,), (1,), (2,)),
        "out": ((), (0,), (1,)),
    }
    assert modules["experts"].paths == ("experts.0", "experts.1", "experts.2")


def test_linen():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, ids):
            x = linen.Embed(10, D)(ids)
            x = x + linen.MultiHeadDotProductAttention(2)(x)
            return linen.Dense(10)(x)

    net, batch = Net(), tokens()
    variables = net.init(jax.random.key(0), batch["x"])

    def loss(variables, batch):
        return cross_entropy(net.apply(variables, batch["x"]), batch["y"])

    modules = examined(loss, parts(variables), batch).modules
    query = modules["params.MultiHeadDotProductAttention_0.query.kernel"]
    assert (query.ins, query.outs) == ((0,), (1, 2))
    assert query.paths == ("params.MultiHeadDotProductAttention_0.query",)
    assert modules["params.Dense_0.kernel"].ins == (0,)


def test_attributes_called_value_keep_their_names():
    class Net(nnx.Module):
        def __init__(self):
            self.value = nnx.Linear(3, 3, rngs=nnx.Rngs(0))

    taken = parts(Net())
    assert sorted(taken.params) == ["value.bias", "value.kernel"]


def test_a_kernel_inside_of_what_is_not_looked_into_is_used_as_flax_has_it():
    w = {"w": jnp.ones((3, 4))}

    @jax.custom_jvp
    def product(w, x):
        return x @ w

    product.defjvp(lambda p, t: (product(*p), p[1] @ t[0] + t[1] @ p[0]))
    known = examined(lambda m, x: jnp.sum(product(m["w"], x)), parts(w), jnp.ones((2, 3)))
    assert (known.modules["w"].ins, known.modules["w"].outs) == ((0,), (1,))
    assert {use.kind for use in known.uses["w"]} == {"custom_jvp_call"}


def test_two_uses_do_not_change_what_the_first_one_said():
    model = pytree()

    def loss(model, batch):
        return jnp.sum(batch @ model["out"]) + jnp.sum(batch @ model["out"] @ model["out"].T)

    modules = examined(loss, parts(model), jnp.ones((2, D))).modules
    assert (modules["out"].ins, modules["out"].outs) == ((0,), (1,))
