"""The operations of a network in which some modules are computed by a method."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Leaves, Method, Tree
from finetune.models.parts import layered
from finetune.models.parts.layered import Layered
from finetune.models.parts.ops import PLAIN, Ops

Drop = Callable[[Any, jax.Array], jax.Array]


def adapted(
    method: Method,
    theta: Tree,
    aux: Tree,
    kernels: Leaves | None = None,
    drop: Drop | None = None,
) -> Ops:
    """`Ops` in which the modules of theta are computed by the method.

    Args:
      method: a Method, or what else has its `apply` and `lookup`.
      kernels: replace the network's own kernels.
      drop: (path, x) -> x, dropout on an adapter's input; a path may be the CRC-32 of one.
    """
    kernels = {} if kernels is None else kernels

    def linear(path, x, kernel):
        kernel = kernels.get(path, kernel)
        if path not in theta:
            return PLAIN.linear(path, x, kernel)
        own = _same if drop is None else functools.partial(drop, path)
        return method.apply(x, kernel, theta[path], aux[path], own)

    def embed(path, ids, table):
        if path not in theta:
            return PLAIN.embed(path, ids, kernels.get(path, table))
        return method.lookup(ids, table, theta[path], aux[path])

    def kernel(path, kernel):
        kernel = kernels.get(path, kernel)
        if path not in theta:
            return kernel
        rows = jnp.eye(kernel.shape[0], dtype=kernel.dtype)
        return method.apply(rows, kernel, theta[path], aux[path], _same)

    def stacked(paths):
        return _stacked(paths, theta, aux, kernels)

    def at(path, leaves):
        return _entry(method, path, leaves, drop)

    def form(path):
        return tuple(_form(tree, path) for tree in (theta, aux, kernels))

    return Ops(linear, embed, kernel, stacked, at, form)


def _form(tree: Tree, path: str) -> Hashable:
    if path not in tree:
        return None
    return layered.form(tree.entry(path) if isinstance(tree, Layered) else tree[path])


def _stacked(paths: tuple[str, ...], theta: Tree, aux: Tree, kernels: Leaves) -> Leaves:
    """What `Ops.stacked` returns: parts of theta, aux and kernels, and which kernels have them."""
    number = np.asarray([zlib.crc32(path.encode()) for path in paths], np.uint32)
    leaves = {"number": jnp.asarray(number)}
    for name, trees in {"theta": theta, "aux": aux, "kernel": kernels}.items():
        together = trees.together(paths) if isinstance(trees, Layered) else None
        if together is not None:
            leaves[name] = together
            continue
        there = [path in trees for path in paths]
        if any(there):
            like = jax.tree.map(jnp.zeros_like, trees[paths[there.index(True)]])
            leaves[name] = jax.tree.map(_padded, *(trees.get(path, like) for path in paths))
            if not all(there):
                leaves[f"has_{name}"] = jnp.asarray(there)
    return leaves


def _padded(*leaves: jax.Array) -> jax.Array:
    """Leaves in one array; of factors whose ranks differ the smaller ones get zeros."""
    sizes = [max(size) for size in zip(*(leaf.shape for leaf in leaves), strict=True)]
    widths = ([(0, n - m) for n, m in zip(sizes, leaf.shape, strict=True)] for leaf in leaves)
    return jnp.stack(
        [
            jnp.pad(leaf, w) if any(p for _, p in w) else leaf
            for leaf, w in zip(leaves, widths, strict=True)
        ]
    )


def _entry(method: Method, path: str, leaves: Leaves, drop: Drop | None) -> Ops:
    """The Ops of one kernel of a stack."""
    own = None if drop is None else lambda _, x: drop(leaves["number"], x)
    theta, aux = ({path: leaves[name]} if name in leaves else {} for name in ("theta", "aux"))
    changed = adapted(method, theta, aux, None, own)

    def base(kernel):
        if "kernel" not in leaves:
            return kernel
        return _chosen(leaves, "kernel", leaves["kernel"], kernel)

    def linear(_, x, kernel):
        kernel = base(kernel)
        y = changed.linear(path, x, kernel)
        if "has_theta" not in leaves:
            return y
        return _chosen(leaves, "theta", y, PLAIN.linear(path, x, kernel))

    def kernel(_, kernel):
        kernel = base(kernel)
        return _chosen(leaves, "theta", changed.kernel(path, kernel), kernel)

    return Ops(linear, PLAIN.embed, kernel)


def _chosen(leaves: Leaves, name: str, own: jax.Array, plain: jax.Array) -> jax.Array:
    """`own` where the kernel has such an entry."""
    has = leaves.get(f"has_{name}")
    return own if has is None else jnp.where(has, own, plain)


def _same(x: jax.Array) -> jax.Array:
    return x
