"""The loss of one deflation level, and its gradients: level after level, batched, or on devices.

Level k sees in every module the predecessors as constants and trains its own component:

    W_k = W + s sum_{j < min(k, rank)} sg(a_j b_j) + s a_k b_k      if k < rank + private

so k (from 0) is public below `rank`, and trains in private, seen by nobody else, in the next
`private` places. Ranks differ between modules; where a module has no component k, level k sees
what the module publishes.

aux[path] has rank and private (int32), scale, and gain (R,) = scale for j < rank, 0 elsewhere.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters import tables
from finetune.adapters.by_component import along
from finetune.adapters.factors import AXIS
from finetune.adapters.method import Leaves, Objective, Tree
from finetune.adapters.tables import each
from finetune.optimiser import clipped

DEVICES = "level"  # the axis of a mesh that levels are dealt out on
Index = Leaves  # path -> the number of the module's own component


class Snapshot(NamedTuple):
    """A loss and what all levels see at the start of a step.

    Attributes:
      objective: the loss of one batch.
      theta, aux, head: as the loss takes them.
      seen: what a level sees of the others, if that is not `theta`; see `late`.
    """

    objective: Objective
    theta: Tree
    aux: Tree
    head: Leaves
    seen: Tree | None = None


class Levels(NamedTuple):
    """Losses and gradients of all R levels.

    Attributes:
      loss: (R,).
      theta: like theta; component k from level k.
    """

    loss: jax.Array
    theta: Tree


def published(aux: Leaves) -> jax.Array:
    """gain (R,) of the deployed network."""
    size = aux["gain"].shape[0]
    return jnp.where(jnp.arange(size) < aux["rank"], aux["scale"], 0).astype(aux["gain"].dtype)


def trainable(aux: Leaves) -> jax.Array:
    """(R,) bool: components that some level trains, public or private."""
    return jnp.arange(aux["gain"].shape[0]) < aux["rank"] + aux["private"]


def initial(theta: Tree, scale: float, rank: int, private: int) -> Tree:
    """aux for `theta` with `rank` components published at first."""
    aux = {}
    for path, leaves in theta.items():
        size, dtype = leaves["b"].shape[0], leaves["a"].dtype
        entry = {
            "gain": jnp.zeros(size, dtype),
            "scale": jnp.asarray(scale, dtype),
            "rank": jnp.asarray(rank, jnp.int32),
            "private": jnp.asarray(private, jnp.int32),
        }
        aux[path] = {**entry, "gain": published(entry)}
    return aux


def with_rank(aux: Tree, rank: jax.Array) -> Tree:
    """aux with the same number of published components in every module."""

    def of_module(entry):
        new = {**entry, "rank": rank.astype(jnp.int32)}
        return {**new, "gain": published(new)}

    return each(of_module, aux)


def everywhere(aux: Tree, k) -> Index:
    """The index of level k: component k in every module."""
    return each(lambda entry: jnp.asarray(k, jnp.int32), aux)


def own(theta: Tree, index: Index) -> Tree:
    """a_k (in,) and b_k (out,) of every module, k = index[path]."""

    def of_module(leaves, k):
        return {
            name: jax.lax.dynamic_index_in_dim(leaf, k, AXIS[name], keepdims=False)
            for name, leaf in leaves.items()
        }

    return each(of_module, theta, index)


def placed(rows: Tree, index: Index, theta: Tree) -> Tree:
    """`own` backwards: like theta, zero but for component index[path]."""
    return each(functools.partial(_with_own, others=jnp.zeros_like), theta, rows, index)


def view(theta: Tree, aux: Tree, rows: Tree, index: Index) -> tuple[Tree, Tree]:
    """theta and aux of the network that a level sees; only `rows` carries a derivative."""

    def of_module(entry, k):
        number = jnp.arange(entry["gain"].shape[0])
        before = number < jnp.minimum(k, entry["rank"])
        owned = (number == k) & trainable(entry)
        gain = jnp.where(before | owned, entry["scale"], 0).astype(entry["gain"].dtype)
        return {**entry, "gain": gain}

    visible = functools.partial(_with_own, others=jax.lax.stop_gradient)
    return each(visible, theta, rows, index), each(of_module, aux, index)


def single(now: Snapshot, index: Index, norm: float) -> tuple[jax.Array, Tree]:
    """(loss, gradient of the own components, clipped to a global norm of `norm`) of one level."""

    others = now.theta if now.seen is None else now.seen

    def loss(rows):
        return now.objective.loss(*view(others, now.aux, rows, index), now.head)

    value, gradient = jax.value_and_grad(loss)(own(now.theta, index))
    return value, clipped(gradient, norm)[0]


def with_head(now: Snapshot, index: Index, norm: float) -> tuple[jax.Array, Tree, Leaves]:
    """`single` and the head's gradient of the same loss, from one pass: (loss, own, of_head)."""

    def loss(rows, head):
        return now.objective.loss(*view(now.theta, now.aux, rows, index), head)

    value, (of_rows, of_head) = jax.value_and_grad(loss, (0, 1))(own(now.theta, index), now.head)
    return value, clipped(of_rows, norm)[0], of_head


def every(
    now: Snapshot, norm: float, way: str = "in_turn", mesh: jax.sharding.Mesh | None = None
) -> Levels:
    """All levels from the same snapshot.

    Args:
      norm: each level's gradient is clipped to it, as that of a worker of its own; 0 for no.
      way: "in_turn" skips levels that train nothing and needs the memory of one; "batched" is one
        batched pass. Same values.
      mesh: deals the levels out along its axis "level", level k to device k mod P; the loss and the
        rank-one gradients of all levels are then exchanged in one all-gather.
    """
    aux = now.aux
    size = next(iter(aux.values()))["gain"].shape[0]

    def level(k):
        return single(now, everywhere(aux, k), norm)

    def guarded(k):
        trains = tables.rows(each(lambda entry: trainable(entry)[k], aux))
        like = jax.eval_shape(level, k)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return jax.lax.cond(jnp.any(trains), level, lambda _: nothing, k)

    if mesh is not None:
        loss, rows = _dealt(level, size, mesh)
    elif way == "batched":
        loss, rows = jax.vmap(level)(jnp.arange(size))
    else:
        loss, rows = jax.lax.map(guarded, jnp.arange(size))

    def of_module(leaves, entry):
        on = trainable(entry)
        return {
            name: jnp.where(along(on, name), jnp.moveaxis(leaf, 0, AXIS[name]), 0)
            for name, leaf in leaves.items()
        }

    return Levels(loss, each(of_module, tables.inside(rows), aux))


def _dealt(level, size: int, mesh: jax.sharding.Mesh):
    """`level` of all of them, a block of levels per device, and one all-gather."""
    devices = mesh.shape[DEVICES]
    slots = -(-size // devices)
    shapes = jax.eval_shape(level, jnp.zeros((), jnp.int32))
    leaves, structure = jax.tree.flatten(shapes)
    dtype = jnp.result_type(*leaves)

    def block():
        numbers = jax.lax.axis_index(DEVICES) + devices * jnp.arange(slots)
        # Places past the last level repeat it; their rows are cut off below.
        results = jax.lax.map(level, jnp.minimum(numbers, size - 1))
        flat = [leaf.reshape(slots, -1).astype(dtype) for leaf in jax.tree.leaves(results)]
        rows = jnp.concatenate(flat, axis=1)[:, None]
        gathered = jax.lax.all_gather(rows, DEVICES, axis=1, tiled=True, to="invarying")
        return gathered.reshape(slots * devices, -1)[:size]

    nowhere = jax.sharding.PartitionSpec()
    flat = jax.shard_map(block, mesh=mesh, in_specs=(), out_specs=nowhere, axis_names={DEVICES})()
    cuts = np.cumsum([int(np.prod(leaf.shape)) for leaf in leaves])[:-1]
    parts = jnp.split(flat, cuts, axis=1)
    restored = [
        part.reshape(size, *leaf.shape).astype(leaf.dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, restored)


def _with_own(leaves: Leaves, row: Leaves, k: jax.Array, others) -> Leaves:
    """The factors of a module with `row` as component k, and others(leaf) as the others."""
    new = {}
    for name, leaf in leaves.items():
        own = jnp.arange(leaf.shape[AXIS[name]]) == k
        new[name] = jnp.where(
            along(own, name), jnp.expand_dims(row[name], AXIS[name]), others(leaf)
        )
    return new
