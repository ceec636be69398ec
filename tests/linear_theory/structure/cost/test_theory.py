import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.structure.cost import theory as cost
from linear_theory.structure.cost.claims import METHODS, compiled_count, draw_layers
from linear_theory.structure.cost.theory import Layer

LAYER = Layer(outputs=6, inputs=5, tokens=7, rank=2, depth=2)


def products(function, *arguments):
    """2 a b c summed over the products in a function as it is traced, before any compiler."""
    total = 0
    for equation in jax.make_jaxpr(function)(*arguments).eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * np.prod([left[i] for i in contracted])
    return total


@pytest.mark.parametrize("name", ["full", "adapter", "merged", "factored", "deep"])
def test_products_of_the_traced_gradient(name):
    method = METHODS[name]
    frozen = tuple(jnp.ones(shape) for shape in method.frozen(LAYER))
    trained = tuple(jnp.ones(shape) for shape in method.trained(LAYER))
    inputs, targets = jnp.ones((5, 7)), jnp.ones((6, 7))

    def loss(trained):
        return jnp.sum((method.apply(frozen, trained, inputs) - targets) ** 2) / 2

    assert products(jax.grad(loss), trained) == method.operations(LAYER)


def test_projection_adds_two_products():
    extra = cost.projected_operations(LAYER) - cost.full_operations(LAYER)
    assert extra == 2 * (2 * 6 * 5 * 2)


def test_compiled_numbers_by_hand():
    layer = Layer(8, 9, 10, 2)
    with jax.enable_x64(True):
        assert compiled_count("full", layer)[1] == 8 * 3 * 72
        assert compiled_count("projected", layer)[1] == 8 * (72 + 16 + 2 * 18)


def test_a_small_rank_saves_memory_and_few_operations():
    layer = Layer(768, 768, 4096, 8)
    assert cost.projected_numbers(layer) < cost.adapter_numbers(layer) < cost.full_numbers(layer)
    assert 0.5 < cost.adapter_operations(layer) / cost.full_operations(layer) < 0.53


def test_every_method_is_drawn():
    assert {name for name, _ in draw_layers(jax.random.key(0), len(METHODS))} == set(METHODS)
