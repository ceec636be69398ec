"""Adapters whose gain is trained: y = x W + s ((drop(x) a) * d) b with theta[path] = {a, b, d}.

a is (in, R), b (R, out), d (R,): AdaLoRA's and IncreLoRA's singular values, SoRA's gate. aux[path]
has the scale s, a scalar. A component with d = 0 is no part of the network, but may come back.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from finetune.adapters import factors
from finetune.adapters.method import Drop, Factors, Leaves, Tree


def plain(theta: Leaves, aux: Leaves) -> tuple[Leaves, Leaves]:
    """The same adapter as `factors` wants it, with gain s d."""
    gain = aux["scale"] * theta["d"]
    return {"a": theta["a"], "b": theta["b"]}, {"gain": gain}


def apply(x: jax.Array, kernel: jax.Array, theta: Leaves, aux: Leaves, drop: Drop) -> jax.Array:
    """x W + s ((drop(x) a) * d) b in the dtype of x, as `factors.apply` does it."""
    return factors.apply(x, kernel, *plain(theta, aux), drop)


def lookup(ids: jax.Array, table: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """Rows `ids` of table + s a diag(d) b."""
    return factors.lookup(ids, table, *plain(theta, aux))


def export(kernel: jax.Array, theta: Leaves, aux: Leaves) -> Factors:
    """The components with d != 0, with s d folded into a."""
    return factors.export(kernel, *plain(theta, aux))


def ranks(theta: Tree, aux: Tree) -> Leaves:
    """path -> number of components with d != 0, int32."""
    del aux
    return {path: jnp.sum(leaves["d"] != 0, dtype=jnp.int32) for path, leaves in theta.items()}


def start(key: jax.Array, kernels: Mapping[str, jax.Array], rank: int, std: float) -> Tree:
    """theta with a, b ~ N(0, std^2) and d = 0, so that nothing changes at first.

    Float32, or float64 for float64 kernels. A component's first values do not depend on how many
    there are.

    Example:
      >>> theta = start(jax.random.key(0), {"fc": jnp.ones((3, 5))}, rank=2, std=0.02)
      >>> theta["fc"]["b"].shape, theta["fc"]["d"].tolist()
      ((2, 5), [0.0, 0.0])
    """

    def draw(key, shape, dtype):
        return std * jax.random.normal(key, shape, dtype)

    theta = factors.start(key, kernels, rank, draw)
    # b needs other draws than a: the same function on the transposed kernels, with another key.
    turned = {path: jax.ShapeDtypeStruct(k.shape[::-1], k.dtype) for path, k in kernels.items()}
    other = factors.start(jax.random.fold_in(key, 1), turned, rank, draw)
    return {
        path: {**leaves, "b": other[path]["a"].T, "d": jnp.zeros(rank, leaves["a"].dtype)}
        for path, leaves in theta.items()
    }


def scaled(theta: Tree, scale: float) -> Tree:
    """aux with the scale s of every module, in the dtype of its factors."""
    return {p: {"scale": jnp.asarray(scale, leaves["a"].dtype)} for p, leaves in theta.items()}
