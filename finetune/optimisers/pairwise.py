"""What the optimisers of whole pairs (a, b) share: a pair is found by the path of its module.

Two lists, one of all a and one of all b, pair a module with its neighbour's factor as soon as
something else stands in one of them. Here a pair is theta[path], whatever else is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.method import Leaves, Tree
from finetune.models.parts.layered import Layered


def owned(
    start: Callable[[Tree], Any],
    move: Callable[[Tree, Any, Tree, jax.Array], tuple[Tree, Any]],
) -> optax.GradientTransformationExtraArgs:
    """The transformation of an optimiser that says where the parameters go.

    Args:
      start: theta -> state.
      move: (gradients, state, theta, step) -> (theta after the step, state).

    Example:
      >>> tx = owned(lambda theta: (), lambda g, state, theta, step: (g, state))
      >>> theta = {"fc": {"a": jnp.ones((2, 1)), "b": jnp.ones((1, 2))}}
      >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, theta), (), theta, step=jnp.int32(0))
      >>> updates["fc"]["b"].tolist()
      [[-1.0, -1.0]]
    """

    def update(gradients, state, theta, *, step, **_):
        moved, state = move(gradients, state, theta, step)
        return jax.tree.map(jnp.subtract, moved, theta), state

    return optax.GradientTransformationExtraArgs(start, update)


def by_shape(function: Callable[..., Any], arrays: Mapping[Hashable, jax.Array]) -> Any:
    """key -> function(array), computed for all arrays of one shape at once.

    A network has hundreds of small factors of a few shapes; one decomposition of a stack costs an
    accelerator, and the compiler, what one of a single matrix does.

    Example:
      >>> result = by_shape(jnp.linalg.inv, {"x": 2 * jnp.eye(2), "y": 4 * jnp.eye(2)})
      >>> result["y"].tolist()
      [[0.25, 0.0], [0.0, 0.25]]
    """
    if isinstance(arrays, Layered):  # they lie together already
        rest = by_shape(function, arrays.rest)
        return Layered(arrays.groups, tuple(map(jax.vmap(function), arrays.stacks)), rest)
    groups: dict[Any, list[Hashable]] = {}
    for key, array in arrays.items():
        groups.setdefault((array.shape, array.dtype), []).append(key)
    grouped = {}
    for keys in groups.values():
        stack = jax.vmap(function)(jnp.stack([arrays[key] for key in keys]))
        for i, key in enumerate(keys):
            grouped[key] = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
    return grouped


def sides_of(tree: Tree) -> Leaves:
    """a and b^T of every module, both (n, r), under the names path.a and path.b.

    Example:
      >>> tree = {"fc": {"a": jnp.ones((2, 1)), "b": jnp.ones((1, 3))}}
      >>> {key: side.shape for key, side in sides_of(tree).items()}
      {'fc.a': (2, 1), 'fc.b': (3, 1)}
    """
    return {
        f"{path}.{name}": leaves[name].T if name == "b" else leaves[name]
        for path, leaves in tree.items()
        for name in ("a", "b")
    }


def other(key: str) -> str:
    """The name of the other factor of the same module.

    Example:
      >>> other("fc.a")
      'fc.b'
    """
    return key[:-1] + ("a" if key[-1] == "b" else "b")
