"""One linear layer with a squared loss: the case in which networks meet the solvers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Objective
from finetune.training.step import adapted

IN, OUT, ROWS = 5, 4, 12


def data(seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(ROWS, IN))
    kernel, change = generator.normal(size=(2, IN, OUT))
    return x, kernel, x @ (kernel + change)


def objective(method, x, kernels, y, path="fc"):
    """1/2 ||y - f(x)||^2 of a network of one layer; `kernels` is path -> kernel."""

    def loss(theta, aux, head, other=None):
        ops = adapted(method, theta, aux, other)
        out = ops.linear(path, jnp.asarray(x), kernels[path])
        return jnp.sum((out + head.get("bias", 0) - y) ** 2) / 2

    return Objective(loss, lambda: kernels)


def chain(method, x, kernels, y):
    """1/2 ||y - tanh(x W_1) W_2||^2, two adapted layers called 'one' and 'two'."""

    def loss(theta, aux, head, other=None):
        ops = adapted(method, theta, aux, other)
        hidden = jnp.tanh(ops.linear("one", jnp.asarray(x), kernels["one"]))
        return jnp.mean((ops.linear("two", hidden, kernels["two"]) + head["bias"] - y) ** 2)

    return Objective(loss, lambda: kernels)


def chain_data(seed=0, dtype=np.float64):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(ROWS, IN)).astype(dtype)
    kernels = {
        "one": jnp.asarray(generator.normal(size=(IN, 6)), dtype),
        "two": jnp.asarray(generator.normal(size=(6, OUT)), dtype),
    }
    return x, kernels, generator.normal(size=(ROWS, OUT)).astype(dtype)


def trained(theta, aux, key=7, std=0.3):
    """theta with b that is not zero, so that every component matters."""
    key = jax.random.key(key)
    return {
        path: {
            "a": leaves["a"] * 10,
            "b": std
            * jax.random.normal(jax.random.fold_in(key, i), leaves["b"].shape, leaves["b"].dtype),
        }
        for i, (path, leaves) in enumerate(theta.items())
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _grads(method, target, theta, aux, head, step):
    return method.grads(target, theta, aux, head, step, None)


def grads(method, target, theta, aux, head, step=0):
    """`Method.grads`, compiled: hundreds of small operations otherwise."""
    return _grads(method, target, theta, aux, head, jnp.asarray(step, jnp.int32))


def advance(method, target, state, step, key=None):
    """(theta, aux, opt) after one step without a head."""
    from finetune.adapters.method import Info

    theta, aux, opt = state
    result = method.grads(target, theta, aux, {}, jnp.asarray(step, jnp.int32), key)
    updates, opt = method.tx.update(
        result.theta, opt, theta, step=jnp.asarray(step, jnp.int32), **result.info
    )
    theta = jax.tree.map(jnp.add, theta, updates)
    info = Info(jnp.asarray(step, jnp.int32), key, result.theta, result.info)
    return method.post(theta, aux, opt, info)
