"""Every form of a target answers all that a solver asks, as the array that it stands for does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from deflation.problem.components import Components
from deflation.problem.targets import (
    Operator,
    RowBlock,
    Scaled,
    distance,
    entries,
    magnitude,
    size,
    times,
    times_transposed,
)

M, D, K, DEVICES = 6, 5, 3, 2
P = jax.sharding.PartitionSpec


def array():
    return jnp.asarray(np.random.default_rng(0).normal(size=(M, D)), jnp.float32)


def operator():
    full = array()
    products = Partial(jnp.matmul, full), Partial(jnp.matmul, full.T)
    return Operator(*products, (M, D), full.dtype)


def answers(target) -> dict:
    g = np.random.default_rng(1)
    a, b, c = (g.normal(size=(K, length)).astype(np.float32) for length in (D, M, D))
    return {
        "times": times(target, a),
        "transposed": times_transposed(target, b),
        "distance": distance(target, Components(b, c)),
        "size": size(target),
    }


def row_block():
    mesh = jax.make_mesh((DEVICES,), ("rows",), devices=jax.devices()[:DEVICES])

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P("rows"), out_specs=P())
    def run(rows):
        target = RowBlock(rows, "rows", (M, D))
        return answers(target) | {"magnitude": magnitude(target)}

    cut = jax.sharding.NamedSharding(mesh, P("rows"))
    return run(jax.device_put(array(), cut))


FORMS = {
    "array": (array, 1.0),
    "operator": (operator, 1.0),
    "scaled array": (lambda: Scaled(array(), jnp.asarray(4.0)), 4.0),
    "scaled operator": (lambda: Scaled(operator(), jnp.asarray(4.0)), 4.0),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_answers_as_its_array(name):
    make, factor = FORMS[name]
    for key, value in answers(factor * array()).items():
        np.testing.assert_allclose(answers(make())[key], value, rtol=1e-5, atol=1e-5, err_msg=key)


def test_rows_of_devices_answer_as_the_whole_array():
    got = row_block()
    for key, value in answers(array()).items():
        np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    np.testing.assert_array_equal(got["magnitude"], magnitude(operator()))


def test_entries_are_known_of_arrays_alone():
    np.testing.assert_array_equal(entries(Scaled(array(), jnp.asarray(4.0))), 4 * array())
    assert entries(operator()) is entries(Scaled(operator(), jnp.asarray(4.0))) is None


def test_a_magnitude_grows_with_the_factor():
    assert magnitude(array()) == jnp.max(jnp.abs(array()))
    for form in (array(), operator()):
        assert magnitude(Scaled(form, jnp.asarray(-4.0))) == 4 * magnitude(form)
