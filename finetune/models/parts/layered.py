"""Tables by name in which the entries of layers that are alike lie in one array.

A program over such a table has one array per role where a plain one has one per layer and role:
what is traced and compiled does not grow with depth. Names, order and entries are those of a dict.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Runs = tuple[tuple[str, ...], ...]
"""Paths of layers, of those that are alike together."""


class Entry:
    """One layer's entry in an array of several, which is not cut out before it is asked for."""

    def __init__(self, stack: jax.Array, number: int):
        self.stack, self.number = stack, number
        self.shape, self.dtype = stack.shape[1:], stack.dtype

    def array(self) -> jax.Array:
        """The entry as an array of its own."""
        return self.stack[self.number]


@jax.tree_util.register_pytree_node_class
class Layered(Mapping[str, Any]):
    """A mapping of names to trees of arrays; its own leaves are the arrays of all layers alike.

    Attributes:
      groups: names whose entries lie together, in the order of the layers.
      stacks: for each of them a tree of arrays with the layers along the first axis.
      rest: the other entries.

    Example:
      >>> table = layered({"h.0.w": jnp.zeros(2), "h.1.w": jnp.ones(2), "w": 3}, [("h.0", "h.1")])
      >>> table["h.1.w"].tolist(), table["w"], len(table), len(jax.tree.leaves(table))
      ([1.0, 1.0], 3, 3, 2)
    """

    def __init__(self, groups: Runs, stacks: tuple[Any, ...], rest: dict[str, Any]):
        self.groups, self.stacks, self.rest = groups, stacks, rest
        self._places = {
            name: (group, number)
            for group, names in enumerate(groups)
            for number, name in enumerate(names)
        }

    def tree_flatten(self):
        """For JAX: the arrays, and the names that lie together."""
        return (self.stacks, self.rest), self.groups

    @classmethod
    def tree_unflatten(cls, groups, children):
        """`tree_flatten` backwards."""
        return cls(groups, *children)

    def __getitem__(self, name: str) -> Any:
        return jax.tree.map(cut, self.entry(name))

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(*self.groups, self.rest)

    def __len__(self) -> int:
        return len(self._places) + len(self.rest)

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self.rest

    def __or__(self, other: Mapping[str, Any]) -> Mapping[str, Any]:
        """The table with the entries of `other` in place of its own, or beside them."""
        if not any(name in self._places for name in other):
            return Layered(self.groups, self.stacks, {**self.rest, **other})
        if isinstance(other, Layered) and other.groups == self.groups:
            return Layered(self.groups, other.stacks, {**self.rest, **other.rest})
        return {**self, **other}

    def picked(self, names: Mapping[str, str]) -> Layered:
        """Some of the entries, under the names that these have here -> other names."""
        whole = [
            (tuple(names[name] for name in group), stack)
            for group, stack in zip(self.groups, self.stacks, strict=True)
            if all(name in names for name in group)
        ]
        groups, stacks = zip(*whole, strict=True) if whole else ((), ())
        inside = set(itertools.chain(*groups))
        rest = {new: self[name] for name, new in names.items() if new not in inside}
        return Layered(groups, stacks, rest)

    def entry(self, name: str) -> Any:
        """The entry of a name, of a stack as a tree of `Entry`."""
        if name in self.rest:
            return self.rest[name]
        group, number = self._places[name]
        return jax.tree.map(lambda leaf: Entry(leaf, number), self.stacks[group])

    def together(self, names: tuple[str, ...]) -> Any:
        """The arrays of all these names, in their order; None where they do not lie together."""
        group, _ = self._places.get(names[0], (None, 0))
        return None if group is None or self.groups[group] != names else self.stacks[group]


def layered(
    table: Mapping[str, Any], runs: Sequence[Sequence[str]], release: bool = False
) -> Layered:
    """The table with the layers of each run together, where each of them has an entry of the form.

    Args:
      table: names -> trees of arrays. Names within layers begin with the layers' paths.
      runs: paths of layers.
      release: delete the arrays that have been put together, so that not all are there twice.
    """
    groups = grouped(table, runs)
    stacks = []
    for names in groups:
        stacks.append(jax.tree.map(_stacked, *(table[n] for n in names)))
        for leaf in jax.tree.leaves([table[n] for n in names]) if release else ():
            leaf.delete()
    inside = set(itertools.chain(*groups))
    rest = {name: jax.tree.map(cut, e) for name, e in table.items() if name not in inside}
    return Layered(groups, tuple(stacks), rest)


def grouped(table: Mapping[str, Any], runs: Sequence[Sequence[str]]) -> Runs:
    """Names of entries of one form at the same place in all layers of a run, in their order."""
    groups = []
    for run in runs:
        first = run[0] + "."
        for name in [name for name in table if name.startswith(first)]:
            names = tuple(f"{path}.{name.removeprefix(first)}" for path in run)
            if all(n in table for n in names) and len({form(table[n]) for n in names}) == 1:
                groups.append(names)
    return tuple(groups)


def form(entry: Any) -> Hashable:
    """What entries that lie together have in common: structure, shapes and dtypes."""
    leaves, structure = jax.tree.flatten(entry)
    return structure, tuple((tuple(leaf.shape), jnp.dtype(leaf.dtype)) for leaf in leaves)


def together(*leaves: jax.Array | Entry) -> jax.Array:
    """Leaves along a new first axis, without a copy where they lie so."""
    entries = [leaf for leaf in leaves if isinstance(leaf, Entry)]
    if len(entries) == len(leaves) and len({id(leaf.stack) for leaf in entries}) == 1:
        first, last = entries[0].number, entries[-1].number
        if [leaf.number for leaf in entries] == list(range(first, last + 1)):
            whole = entries[0].stack
            return whole if len(entries) == len(whole) else whole[first : last + 1]
    return jnp.stack([cut(leaf) for leaf in leaves])


def cut(leaf: Any) -> Any:
    """The leaf as an array of its own."""
    return leaf.array() if isinstance(leaf, Entry) else leaf


def _stacked(*leaves: Any) -> jax.Array | jax.ShapeDtypeStruct:
    if isinstance(leaves[0], jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(leaves), *leaves[0].shape), leaves[0].dtype)
    return together(*leaves)
