"""A kernel inside an array of the model: which of its axes are inputs, outputs, or many kernels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

PRODUCT, ROWS = "product", "rows"


@dataclasses.dataclass(frozen=True)
class Module:
    """An array that the loss multiplies by, or looks rows up in.

    Attributes:
      array: its name in the model.
      shape, dtype: of the whole array.
      ins, outs: axes that are contracted with activations, and that activations get; sorted.
      stack: axes along which kernels lie side by side: layers of a scan, experts. In the order in
        which the loss goes through them.
      kind: "product", or "rows" of a table.
      paths: names of the kernels, one, or one for every index of `stack`, the last axis fastest.
    """

    array: str
    shape: tuple[int, ...]
    dtype: jnp.dtype
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    stack: tuple[int, ...]
    kind: str
    paths: tuple[str, ...]

    def sizes(self, axes: Sequence[int]) -> tuple[int, ...]:
        """Sizes of some axes."""
        return tuple(self.shape[i] for i in axes)

    def matrices(self, value: jax.Array, left: Sequence[int]) -> jax.Array:
        """(stack ..., in, out) of an array that has the axes `left`, in their order.

        Example:
          >>> module = Module("w", (5, 3), jnp.dtype("float32"), (1,), (0,), (), PRODUCT, ("w",))
          >>> module.matrices(jnp.ones((5, 3)), (0, 1)).shape
          (3, 5)
        """
        stack = [i for i in self.stack if i in left]
        value = jnp.transpose(value, [left.index(i) for i in (*stack, *self.ins, *self.outs)])
        ends = (math.prod(self.sizes(self.ins)), math.prod(self.sizes(self.outs)))
        return value.reshape(*self.sizes(stack), *ends)

    def restored(self, matrices: jax.Array, left: Sequence[int]) -> jax.Array:
        """`matrices` backwards: an array with the axes `left`."""
        stack = [i for i in self.stack if i in left]
        order = (*stack, *self.ins, *self.outs)
        return jnp.transpose(matrices.reshape(self.sizes(order)), [order.index(i) for i in left])

    def kernel(self, whole: jax.Array, number: int) -> jax.Array:
        """Kernel `number` (in, out) of the whole array."""
        place = dict(zip(self.stack, np.unravel_index(number, self.sizes(self.stack)), strict=True))
        left = tuple(i for i in range(len(self.shape)) if i not in place)
        index = tuple(int(place[i]) if i in place else slice(None) for i in range(len(self.shape)))
        return self.matrices(whole[index] if place else whole, left)

    def whole(self, kernels: Sequence[jax.Array]) -> jax.Array:
        """The array of all kernels (in, out), in the order of `paths`."""
        stacked = jnp.stack(kernels) if self.stack else kernels[0]
        return self.restored(stacked, tuple(range(len(self.shape))))
