"""Tables of modules, path -> leaves by name, also where those of many layers lie in one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Tree
from finetune.models.parts.layered import Layered

Table = Mapping[str, Any]


def by_role(function: Callable[..., Any], *tables: Tree) -> Tree:
    """function(name, leaf, ...) of every leaf, whose name is its role in its module, such as a.

    Example:
      >>> table = {"fc": {"a": 1.0, "b": 2.0}}
      >>> by_role(lambda name, leaf: -leaf if name == "b" else leaf, table)
      {'fc': {'a': 1.0, 'b': -2.0}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(path[-1].key, *leaves), *tables
    )


def of_role(name: str, table: Tree) -> list[jax.Array]:
    """All leaves of that role; those of several layers may be one array."""
    leaves = jax.tree_util.tree_leaves_with_path(table)
    return [leaf for path, leaf in leaves if path[-1].key == name]


def each(function: Callable[..., Any], *tables: Table, in_turn: bool = False) -> Any:
    """path -> function(*entries) of tables with the same paths; of layers alike at once.

    Args:
      in_turn: one layer after the other in a loop, where what a `jax.lax.cond` of the function
        leaves out is to be left out.

    Example:
      >>> each(lambda one, other: one + other, {"x": 1, "y": 2}, {"y": 3, "x": 4})
      {'x': 5, 'y': 5}
    """
    first, *_ = tables

    def alone(path):
        return function(*(table[path] for table in tables))

    if not isinstance(first, Layered):
        return {path: alone(path) for path in first}

    def alike(names):
        own = [_stack(table, names) for table in tables]
        return jax.lax.map(lambda x: function(*x), own) if in_turn else jax.vmap(function)(*own)

    stacks = tuple(alike(names) for names in first.groups)
    return Layered(first.groups, stacks, {path: alone(path) for path in first.rest})


def column(table: Any, name: str) -> Any:
    """path -> entry[name]."""
    if not isinstance(table, Layered):
        return {path: entry[name] for path, entry in table.items()}
    stacks = tuple(stack[name] for stack in table.stacks)
    return Layered(table.groups, stacks, {path: e[name] for path, e in table.rest.items()})


def rows(table: Any) -> jax.Array:
    """A table of arrays of one shape as (modules, ...), in the order of their paths.

    Example:
      >>> rows({"y": jnp.array(1), "x": jnp.array(2)}).tolist()
      [2, 1]
    """
    if not isinstance(table, Layered):
        return jnp.stack([table[path] for path in sorted(table)])
    parts = [*table.stacks, *(leaf[None] for leaf in table.rest.values())]
    return jnp.concatenate(parts)[np.argsort(list(table))]


def dealt(values: jax.Array, like: Any) -> Any:
    """`rows` backwards: path -> its row, in a table as `like`."""
    place = {path: number for number, path in enumerate(sorted(like))}
    if not isinstance(like, Layered):
        return {path: values[place[path]] for path in like}
    stacks = tuple(values[np.array([place[path] for path in names])] for names in like.groups)
    return Layered(like.groups, stacks, {path: values[place[path]] for path in like.rest})


def inside(table: Any) -> Any:
    """A table whose arrays have one more axis in front, of which every module takes its part.

    Of layers that lie together their axis comes first, as `each` expects.
    """
    if not isinstance(table, Layered):
        return table
    stacks = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), table.stacks)
    return Layered(table.groups, stacks, table.rest)


def _stack(table: Table, names: tuple[str, ...]) -> Any:
    whole = table.together(names) if isinstance(table, Layered) else None
    if whole is not None:
        return whole
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(table[name] for name in names))
