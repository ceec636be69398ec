"""Programs that are compiled quickly give the same numbers, wherever they are called."""

import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rankwise import compiling
from rankwise.compiling import (
    OBJECTS,
    QUICKLY,
    collect_rarely,
    flags,
    is_part_of_program,
    jit_quickly,
    known,
)

X = jnp.arange(12.0).reshape(3, 4)


@functools.partial(jit_quickly, static_argnames=("power",))
def length(x, power=2):
    """A loop over entries and a product."""
    return jnp.sum((x @ x.T) ** power)


USES = {
    "alone": length,
    "in a program": lambda x: jax.jit(lambda y: 2 * length(y))(x) / 2,
    "of a constant in a program": lambda x: jax.jit(lambda: length(X))(),
    "mapped": lambda x: jax.vmap(length)(x[None])[0],
    "in a loop": lambda x: jax.lax.fori_loop(0, 1, lambda _, total: total + length(x), 0.0),
    "with its derivative": lambda x: jax.value_and_grad(length)(x)[0],
}


@pytest.mark.parametrize("use", USES)
def test_every_use(use):
    x = np.asarray(X)
    np.testing.assert_allclose(USES[use](X), np.sum((x @ x.T) ** 2), rtol=1e-6)


def test_static_arguments_are_those_of_jit():
    x = np.asarray(X)
    np.testing.assert_allclose(length(X, power=1), np.sum(x @ x.T), rtol=1e-6)
    assert length.__doc__ == "A loop over entries and a product."


def test_options_that_the_compiler_does_not_know_are_left_out(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert known(QUICKLY) == QUICKLY  # of the tested version; else this module does nothing
    assert known({**QUICKLY, "xla_cpu_no_such_option": 1}) == QUICKLY


def test_what_the_environment_says_goes_first(monkeypatch):
    name, *others = QUICKLY
    monkeypatch.setenv("XLA_FLAGS", f"--{name}=true")
    assert list(known(QUICKLY)) == others


def test_flags_of_a_process_are_those_of_a_program_after_the_given_ones(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert {text.partition("=")[0] for text in flags().split()} == {
        f"--{name}" for name in (*QUICKLY, "xla_backend_optimization_level")
    }
    given = "--xla_backend_optimization_level=3"
    monkeypatch.setenv("XLA_FLAGS", given)
    first, *others = flags(level=1).split()
    assert first == given and len(others) == len(QUICKLY)


def test_a_first_call_inside_a_program_does_not_make_all_later_ones_seem_so():
    compiling._untraced.cache_clear()
    jax.jit(lambda y: length(y))(X)
    assert not is_part_of_program((X,))
    before = length.programs()
    length(X[:1])
    assert length.programs() == before + 1


def test_a_program_is_compiled_once():
    before = length.programs()
    for _ in range(3):
        length(X[:2])
    assert length.programs() == before + 1


def test_the_level_may_depend_on_the_arguments():
    asked = []

    def level(x):
        asked.append(x.shape)
        return 0 if x.shape[0] < 3 else 1

    double = jit_quickly(lambda x: 2 * x, level=level)
    for rows in (2, 3, 2):
        np.testing.assert_array_equal(double(X[:rows]), 2 * np.asarray(X[:rows]))
    assert asked == [(2, 4), (3, 4), (2, 4)] and double.programs() == 2


def test_what_is_traced_is_part_of_a_program():
    within = []
    jax.jit(lambda: within.append(is_part_of_program(X)))()
    jax.vmap(lambda x: within.append(is_part_of_program(x)))(X)
    assert within == [True, True] and not is_part_of_program(X)


def test_what_is_there_is_not_searched_and_the_rest_rarely():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    there = [[] for _ in range(1000)]
    try:
        collect_rarely()
        assert gc.get_threshold() == OBJECTS
        assert not any(there[0] is each for each in gc.get_objects())
    finally:
        gc.set_threshold(*before)
