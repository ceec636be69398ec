"""The parameters of a module tree by torch's names, and back.

The attributes of our modules are torch's, so a name is a path: no table per architecture.
`kernel` is torch's `weight` transposed; `embedding` and `scale` are `weight` as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
from flax import nnx

LAST = {"kernel": "weight", "embedding": "weight", "scale": "weight", "bias": "bias"}


class Leaf(NamedTuple):
    """A parameter of a module.

    Attributes:
      value: an array, or its shape and dtype in an abstract model.
      transposed: whether torch stores it transposed (a kernel).
    """

    value: jax.Array | jax.ShapeDtypeStruct
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in our layout."""
        return self.value.shape

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Its shape in a checkpoint."""
        return self.shape[::-1] if self.transposed else self.shape


def named_leaves(model: nnx.Module) -> dict[str, Leaf]:
    """Torch name -> parameter, for every parameter of a module.

    Example:
      >>> from finetune.models.parts import layers
      >>> {name: leaf.shape for name, leaf in named_leaves(layers.Linear("fc", 2, 3)).items()}
      {'bias': (3,), 'weight': (2, 3)}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.split(model)[1])
    named = {}
    for path, value in leaves:
        *parents, last = _keys(path)
        named[".".join([*map(str, parents), LAST[last]])] = Leaf(value, last == "kernel")
    return named


def within(name: str, path: str) -> bool:
    """Whether a parameter or module is the one of that path or lies in it.

    Example:
      >>> within("bert.pooler.dense", "bert.pooler"), within("bert.pool", "bert.pooler")
      (True, False)
    """
    return name == path or name.startswith(f"{path}.")


def alike(path: str, names: Iterable[str]) -> list[str]:
    """The name that is the path, else those that end with it or are its end.

    Files of a bare encoder leave out the parts that a model with a head has in front.

    Example:
      >>> alike("layer.0.query", ["bert.layer.0.query", "bert.layer.0.key"])
      ['bert.layer.0.query']
    """
    names = list(names)
    if path in names:
        return [path]
    return [n for n in names if n.endswith(f".{path}") or path.endswith(f".{n}")]


def rebuild(model: nnx.Module, values: Mapping[str, jax.Array]) -> nnx.Module:
    """The module with the given parameters, by torch name and in our layout.

    Raises:
      KeyError: a parameter without a value.
    """
    graphdef, params = nnx.split(model)
    names = list(named_leaves(model))
    structure = jax.tree.structure(params)
    return nnx.merge(graphdef, jax.tree.unflatten(structure, [values[name] for name in names]))


def _keys(path) -> list:
    # A leaf's path ends in the attribute that a variable keeps its array under; it is no name.
    return [part.key for part in path if isinstance(part, jax.tree_util.DictKey)]
