"""Arrays of the model on their way through a program, as long as it only turns or reshapes them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """An array of the model, up to the order and merging of its axes and its dtype.

    Attributes:
      name: of the array.
      shape: of the whole array, by axis.
      value: the array as it is stored; inside a scan the part of this turn.
      left: axes that `value` has, in order.
      axes: which axes each axis of the view is made of.
      dtype: of the view.
      taken: axes that scans took, the outer one first.
      scopes: for each of them, the part of the name that the arrays of the scan share.
      leaves: what the change of a stacked array is made of, stacked alike; None for others.
    """

    name: str
    shape: tuple[int, ...]
    value: jax.Array
    left: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    dtype: Any
    taken: tuple[int, ...] = ()
    scopes: tuple[str, ...] = ()
    leaves: Any = None

    def array(self, value: jax.Array | None = None) -> jax.Array:
        """The view of `value`, of the array itself if None."""
        value = self.value if value is None else value
        order = [self.left.index(i) for i in self.flat()]
        sizes = [math.prod(self.shape[i] for i in group) for group in self.axes]
        return jnp.transpose(value, order).reshape(sizes).astype(self.dtype)

    def flat(self, dimensions=None) -> tuple[int, ...]:
        """Axes behind some dimensions of the view, all of them if None."""
        groups = self.axes if dimensions is None else [self.axes[k] for k in dimensions]
        return tuple(i for group in groups for i in group)


def view(name: str, value: jax.Array, leaves: Any = None) -> View:
    """A whole array."""
    axes = tuple(range(value.ndim))
    return View(
        name, value.shape, value, axes, tuple((i,) for i in axes), value.dtype, (), (), leaves
    )


def turned(view: View, permutation) -> View:
    """The view with its dimensions in another order."""
    return dataclasses.replace(view, axes=tuple(view.axes[k] for k in permutation))


def reshaped(view: View, sizes) -> View | None:
    """The view in another shape; None where that cuts an axis of the array.

    Example:
      >>> reshaped(view("w", jnp.ones((2, 3, 4))), (6, 1, 4)).axes
      ((0, 1), (), (2,))
      >>> reshaped(view("w", jnp.ones((4, 3))), (2, 6)) is None
      True
    """
    rest, groups = list(view.flat()), []
    for size in sizes:
        group, reached = [], 1
        while rest and (reached < size or (size == 1 and not group and view.shape[rest[0]] == 1)):
            group.append(rest.pop(0))
            reached *= view.shape[group[-1]]
        if reached != size:
            return None
        groups.append(tuple(group))
    if not groups or any(view.shape[i] != 1 for i in rest):
        return None
    groups[-1] = (*groups[-1], *rest)
    return dataclasses.replace(view, axes=tuple(groups))


def common(names: list[str]) -> str:
    """The leading parts that dotted names share, of a single name all but the last.

    Example:
      >>> common(["blocks.up.kernel", "blocks.up.bias", "blocks.down.kernel"])
      'blocks'
    """
    parts = [name.split(".")[:-1] for name in names]
    shared = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return ".".join(shared)
