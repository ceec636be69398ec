"""Layers one after the other: each traced by itself, or one that is scanned over those alike.

Alike are layers of one kind whose parameters, and whose changes by `Ops`, have the same shapes:
neighbours, or every p-th layer where p kinds take turns. A layer that differs is traced by itself,
so that a network of which an adapter changes only some layers is still what it says.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.parts.layered import Runs, cut, form, together
from finetune.models.parts.layers import Linear
from finetune.models.parts.ops import PLAIN, Ops

Call = Callable[[nnx.Module, jax.Array, Ops, jax.Array | None], jax.Array]


VIEWS = ("reshape", "broadcast_in_dim", "transpose", "squeeze", "convert_element_type")
CHEAP = ("add", "sub", "mul", "div", "neg", "select_n", "logistic")
"""Operations whose results a scan does not keep for the backward pass, which takes them again.

A loop keeps one array for each value that its backward pass reads, also where several are views of
one, and where a program without the loop would take them again as a part of what reads them.
"""


class Loop(NamedTuple):
    """Neighbouring layers of which the first `period` are traced, and stand for all.

    Attributes:
      layers: their numbers.
      period: layers of a turn; a multiple of it are in the loop.
    """

    layers: range
    period: int

    @property
    def alike(self) -> list[range]:
        """The numbers of those that one traced layer stands for, for each of a turn."""
        return [self.layers[first :: self.period] for first in range(self.period)]

    def turns(self, items: Sequence) -> list[Sequence]:
        """What belongs to the layers of each turn."""
        first, last = self.layers[0], self.layers[-1] + 1
        return [items[i : i + self.period] for i in range(first, last, self.period)]


def through(
    layers: Sequence[nnx.Module],
    x: jax.Array,
    ops: Ops,
    keys: Sequence[jax.Array | None],
    call: Call,
    remat: bool = False,
    scan: int = 0,
) -> tuple[jax.Array, ...]:
    """x and the output of each layer in turn.

    Args:
      layers: modules of one class; those that compute differently differ in an attribute `kind`.
      keys: of dropout, one for each layer: it has the same, scanned or not.
      call: (layer, x, ops, key) -> x.
      remat: see `recomputed`.
      scan: trace one layer for all that are alike, see `loops`; 0 traces each.
    """
    states = [x]
    for loop in loops(layers, scan, ops):
        if len(loop.layers) > loop.period:
            turns = loop.turns(layers), loop.turns(keys)
            states.extend(_scanned(*turns, states[-1], ops, call, remat))
            continue
        layer, key = layers[loop.layers[0]], keys[loop.layers[0]]

        def output(x, layer=layer, key=key):
            return call(_cut_out(layer) if scan else layer, x, ops, key)

        states.append(recomputed(output, remat)(states[-1]))
    return tuple(states)


def loops(layers: Sequence[nnx.Module], least: int, ops: Ops = PLAIN) -> list[Loop]:
    """All layers in their order, as loops of at least `least` of them and, else, one by one.

    Of the turns that may begin at a layer, the shortest of those that reach farthest is taken. With
    `least` 0 there are no loops.
    """
    if not least:
        return [Loop(range(i, i + 1), 1) for i in range(len(layers))]

    def form_of(layer):
        changes = tuple(ops.form(path) for path in paths(layer))
        return getattr(layer, "kind", None), form(nnx.to_pure_dict(nnx.state(layer))), changes

    numbers: dict[Hashable, int] = {}
    kinds = [numbers.setdefault(form_of(layer), len(numbers)) for layer in layers]
    parts, first = [], 0
    while first < len(kinds):
        reach = {p: _reach(kinds, first, p) for p in range(1, (len(kinds) - first) // 2 + 1)}
        period = max(reach, key=lambda p: reach[p], default=1)
        size = reach.get(period, 0)
        size, period = (size, period) if size >= max(least, 2) else (1, 1)
        parts.append(Loop(range(first, first + size), period))
        first += size
    return parts


def _reach(kinds: Sequence[int], first: int, period: int) -> int:
    """How many entries from the first on are turns of the first `period`; 0 for a single turn."""
    last = first + period
    while last < len(kinds) and kinds[last] == kinds[last - period]:
        last += 1
    turns = (last - first) // period
    return turns * period if turns > 1 else 0


def runs(model: nnx.Module, least: int) -> Runs:
    """Paths of the layers of a model that are alike, for each loop; none with `least` 0."""
    return tuple(
        tuple(f"{path}.{number}" for number in numbers)
        for path in getattr(model, "deep", ())
        for loop in loops(operator.attrgetter(path)(model), least)
        for numbers in loop.alike
        if len(numbers) > 1
    )


def paths(layer: nnx.Module) -> tuple[str, ...]:
    """Of the linear maps of a layer, in the same order for all layers of a class."""
    return tuple(module.path for _, module in nnx.iter_graph(layer) if isinstance(module, Linear))


def recomputed(function: Callable, remat: bool) -> Callable:
    """`function`, whose inner values the backward pass computes again where `remat` is true.

    Gradient checkpointing: of a layer only the input is kept, for one more forward pass in time.
    """
    return jax.checkpoint(function) if remat else function


def _scanned(turns, keys, x, ops: Ops, call: Call, remat: bool) -> list[jax.Array]:
    """The output of every layer, where the layers of the first turn are traced for all turns."""

    def stacked(layers, keys):
        leaves = jax.tree.map(together, *map(nnx.state, layers))
        changes = {group[0]: ops.stacked(group) for group in zip(*map(paths, layers), strict=True)}
        return leaves, changes, None if keys[0] is None else jnp.stack(keys)

    def turn(x, own):
        outputs = []
        for layer, part in zip(turns[0], own, strict=True):
            graphdef = nnx.graphdef(layer)

            def output(x, part, graphdef=graphdef):
                leaves, changes, key = part

                def linear(path, x, kernel):
                    return ops.at(path, changes[path]).linear(path, x, kernel)

                return call(nnx.merge(graphdef, leaves), x, PLAIN._replace(linear=linear), key)

            again = jax.checkpoint(output, prevent_cse=False, policy=None if remat else _kept)
            x = again(x, part)
            outputs.append(x)
        return x, outputs

    columns = zip(zip(*turns, strict=True), zip(*keys, strict=True), strict=True)
    _, outputs = jax.lax.scan(turn, x, [stacked(*column) for column in columns])
    return [output[number] for number in range(len(turns)) for output in outputs]


def _kept(primitive, *_, **__) -> bool:
    return primitive.name not in (*VIEWS, *CHEAP)


def _cut_out(layer: nnx.Module) -> nnx.Module:
    """The layer with arrays of its own."""
    graphdef, leaves = nnx.split(layer)
    return nnx.merge(graphdef, jax.tree.map(cut, leaves))
