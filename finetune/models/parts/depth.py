"""Layers one after the other: each traced by itself, or one that is scanned over those alike.

Alike are neighbours of one kind whose parameters, and whose changes by `Ops`, have the same shapes.
A layer that differs is traced by itself, so that a network of which an adapter changes only some
layers is still what it says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.parts.layered import Entry, form
from finetune.models.parts.layers import Linear, fork
from finetune.models.parts.ops import PLAIN, Ops

Call = Callable[[nnx.Module, jax.Array, Ops, jax.Array | None], jax.Array]


VIEWS = ("reshape", "broadcast_in_dim", "transpose", "squeeze", "convert_element_type")
CHEAP = ("add", "sub", "mul", "div", "neg", "select_n", "logistic")
"""Operations whose results a scan does not keep for the backward pass, which takes them again.

A loop keeps one array for each value that its backward pass reads, also where several are views of
one, and where a program without the loop would take them again as a part of what reads them.
"""


def through(
    layers: Sequence[nnx.Module],
    x: jax.Array,
    ops: Ops,
    key: jax.Array | None,
    call: Call,
    remat: bool = False,
    scan: int = 0,
) -> tuple[jax.Array, ...]:
    """x and the output of each layer in turn.

    Args:
      layers: modules of one class; those that compute differently differ in an attribute `kind`.
      key: of dropout. Every layer has the same part of it, scanned or not.
      call: (layer, x, ops, key) -> x.
      remat: see `recomputed`.
      scan: trace one layer for all that are alike, where they are at least so many; 0 traces each.
    """
    states, keys = [x], fork(key, len(layers))
    for run in alike(layers, ops) if scan else [range(len(layers))]:
        own = [layers[i] for i in run], [keys[i] for i in run]
        if scan and len(run) >= scan:
            states.extend(_scanned(*own, states[-1], ops, call, remat))
            continue
        for layer, part in zip(*own, strict=True):

            def output(x, layer=layer, part=part):
                return call(_cut_out(layer) if scan else layer, x, ops, part)

            states.append(recomputed(output, remat)(states[-1]))
    return tuple(states)


def alike(layers: Sequence[nnx.Module], ops: Ops = PLAIN) -> list[list[int]]:
    """Numbers of neighbouring layers that one traced layer stands for."""

    def own(number):
        layer = layers[number]
        changes = tuple(ops.form(path) for path in paths(layer))
        return getattr(layer, "kind", None), form(nnx.to_pure_dict(nnx.state(layer))), changes

    return [list(run) for _, run in itertools.groupby(range(len(layers)), own)]


def paths(layer: nnx.Module) -> tuple[str, ...]:
    """Of the linear maps of a layer, in the same order for all layers of a class."""
    return tuple(module.path for _, module in nnx.iter_graph(layer) if isinstance(module, Linear))


def recomputed(function: Callable, remat: bool) -> Callable:
    """`function`, whose inner values the backward pass computes again where `remat` is true.

    Gradient checkpointing: of a layer only the input is kept, for one more forward pass in time.
    """
    return jax.checkpoint(function) if remat else function


def _scanned(layers, keys, x, ops: Ops, call: Call, remat: bool) -> list[jax.Array]:
    graphdef = nnx.graphdef(layers[0])
    leaves = jax.tree.map(_together, *map(nnx.state, layers))
    changes = {group[0]: ops.stacked(group) for group in zip(*map(paths, layers), strict=True)}
    keys = None if keys[0] is None else jnp.stack(keys)

    def one(x, own):
        leaves, changes, key = own

        def linear(path, x, kernel):
            return ops.at(path, changes[path]).linear(path, x, kernel)

        y = call(nnx.merge(graphdef, leaves), x, PLAIN._replace(linear=linear), key)
        return y, y

    again = jax.checkpoint(one, prevent_cse=False, policy=None if remat else _kept)
    _, outputs = jax.lax.scan(again, x, (leaves, changes, keys))
    return [outputs[number] for number in range(len(layers))]


def _kept(primitive, *_, **__) -> bool:
    return primitive.name not in (*VIEWS, *CHEAP)


def _together(*leaves: jax.Array | Entry) -> jax.Array:
    """Leaves along a new first axis, without a copy where they lie so."""
    entries = [leaf for leaf in leaves if isinstance(leaf, Entry)]
    if len(entries) == len(leaves) and len({id(leaf.stack) for leaf in entries}) == 1:
        first, last = entries[0].number, entries[-1].number
        if [leaf.number for leaf in entries] == list(range(first, last + 1)):
            whole = entries[0].stack
            return whole if len(entries) == len(whole) else whole[first : last + 1]
    return jnp.stack([_array(leaf) for leaf in leaves])


def _cut_out(layer: nnx.Module) -> nnx.Module:
    """The layer with arrays of its own."""
    graphdef, leaves = nnx.split(layer)
    return nnx.merge(graphdef, jax.tree.map(_array, leaves))


def _array(leaf: jax.Array | Entry) -> jax.Array:
    return leaf.array() if isinstance(leaf, Entry) else leaf
