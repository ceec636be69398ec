"""A model as arrays by name, and back: an nnx module, or any pytree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

Arrays = dict[str, jax.Array]


class Parts(NamedTuple):
    """The arrays of a model.

    Attributes:
      params: name -> floating array, what could be trained.
      rest: name -> any other array: statistics, counters, caches, keys.
      build: arrays by name -> the model; each call makes another one.
      rest_of: model -> `rest` as it is there.
      keys: names in `rest` of random streams, which advance with every step.
      state: names in `rest` that a loss must leave as they are.
    """

    params: Arrays
    rest: Arrays
    build: Callable[[Mapping[str, jax.Array]], Any]
    rest_of: Callable[[Any], Arrays]
    keys: tuple[str, ...] = ()
    state: tuple[str, ...] = ()


def parts(model: Any) -> Parts:
    """Takes a model apart; it is not changed.

    Of flax's variables as a dictionary, "params" are the parameters; of any other pytree all
    floating arrays are.

    Example:
      >>> split = parts({"w": jnp.ones((2, 3)), "layers": [jnp.zeros(3)], "count": jnp.array(0)})
      >>> sorted(split.params), sorted(split.rest)
      (['layers.0', 'w'], ['count'])
    """
    return _of_module(model) if isinstance(model, nnx.Module) else _of_pytree(model)


def _of_module(model: nnx.Module) -> Parts:
    graph, *states = nnx.split(model, nnx.Param, ...)
    flat = [_flat(state) for state in states]
    trees = [jax.tree.structure(state) for state in states]
    kinds = {
        name: type(variable)
        for state in states
        for name, variable in _flat(state, lambda x: isinstance(x, nnx.Variable)).items()
    }
    params = {name: leaf for name, leaf in flat[0].items() if _floating(leaf)}
    rest = {n: leaf for part in flat for n, leaf in part.items() if n not in params}

    def build(arrays):
        both = (
            jax.tree.unflatten(tree, [arrays[name] for name in part])
            for tree, part in zip(trees, flat, strict=True)
        )
        # A copy: else what the model does to its variables would be done to the arrays given.
        return nnx.merge(graph, *both, copy=True)

    def rest_of(model):
        after = nnx.split(model, nnx.Param, ...)[1:]
        return {n: leaf for state in after for n, leaf in _flat(state).items() if n in rest}

    streams = [name for name in rest if not issubclass(kinds[name], nnx.RngState)]
    keys = tuple(n for n, leaf in rest.items() if issubclass(kinds[n], nnx.RngKey) and _key(leaf))
    return Parts(params, rest, build, rest_of, keys, tuple(sorted(streams)))


def _of_pytree(model: Any) -> Parts:
    named, tree = _flat(model), jax.tree.structure(model)
    arrays = {n: jnp.asarray(leaf) for n, leaf in named.items() if _array(leaf)}
    linen = isinstance(model, Mapping) and "params" in model
    params = {
        name: leaf
        for name, leaf in arrays.items()
        if _floating(leaf) and (not linen or name.startswith("params."))
    }
    rest = {name: leaf for name, leaf in arrays.items() if name not in params}

    def build(arrays):
        return jax.tree.unflatten(tree, [arrays.get(name, leaf) for name, leaf in named.items()])

    return Parts(params, rest, build, lambda model: rest)


def _flat(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Leaves by dotted names."""
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)[0]
    return {_name(path): leaf for path, leaf in leaves}


def _name(path) -> str:
    # The last entry may be the attribute that a variable keeps its array under; a module may have
    # an attribute of that name too (flax's attention has), but no array of its own behind it.
    last = path[-1] if path else None
    hidden = isinstance(last, jax.tree_util.GetAttrKey) and last.name in ("value", "raw_value")
    keys = path[:-1] if hidden else path
    return ".".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in keys)


def _array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def _floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
