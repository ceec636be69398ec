"""y = x (W + a diag(gain) b): a product with a changed kernel, and the way back through it.

    g = dL/dy,  h = g b^T:   dL/da = x^T h diag(gain),  dL/db = diag(gain) (x a)^T g

Forward it is one product, where a sum of two would be kept twice for the backward pass. Backward
nothing has the size of W: each activation is read once for each of h, dL/da and dL/db.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from finetune.models import ops


def fits(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether `matmul` is cheaper than x W + (x a) b, and as exact.

    Forming W + a b costs in * out for every component, the thin products rows * (in + out). Below
    float32 a small change of a kernel would be lost in it.
    """
    size_in, size_out = kernel.shape
    cheaper = size_in * size_out <= math.prod(x.shape[:-1]) * (size_in + size_out)
    return cheaper and x.dtype == kernel.dtype and kernel.dtype.itemsize >= 4


@jax.custom_vjp
def matmul(
    x: jax.Array, kernel: jax.Array, a: jax.Array, gain: jax.Array, b: jax.Array
) -> jax.Array:
    """x (W + a diag(gain) b).

    Args:
      x: (..., in), of the dtype of the kernel.
      kernel: (in, out), float32 or float64.
      a, gain, b: (in, r), (r,), (r, out); r may be 0.

    Returns:
      (..., out). It has reverse-mode derivatives by all arguments, and none in forward mode.

    Example:
      >>> import jax.numpy as jnp
      >>> a, b = jnp.ones((2, 1)), jnp.ones((1, 2))
      >>> matmul(jnp.ones((1, 2)), jnp.eye(2), a, jnp.full(1, 3.0), b).tolist()
      [[7.0, 7.0]]
    """
    return ops.matmul(x, kernel + ops.matmul(a * gain, b))


def _forward(x, kernel, a, gain, b):
    return matmul(x, kernel, a, gain, b), (x, ops.matmul(x, a), kernel, a, gain, b)


def _backward(kept, g):
    x, inner, kernel, a, gain, b = kept
    rows = math.prod(x.shape[:-1])  # not -1: a rank may be 0
    x_rows, inner, g = (leaf.reshape(rows, leaf.shape[-1]) for leaf in (x, inner, g))
    h = ops.matmul(g, b.T)
    # The gain last: a transpose next to its product would be folded into it, and XLA's product
    # for a CPU is then one that reads x along the wrong axis, in ten times the time.
    of_a = (_over_rows(h, x_rows) * gain[:, None]).T
    of_b = _over_rows(inner, g) * gain[:, None]
    of_x = ops.matmul(g, kernel.T) + ops.matmul(h * gain, a.T)
    of_gain = jnp.sum(inner * h, axis=0)
    return of_x.reshape(x.shape), _over_rows(x_rows, g), of_a, of_gain, of_b


def _over_rows(x: jax.Array, y: jax.Array) -> jax.Array:
    """x^T y of (rows, m) and (rows, n), without transposing either."""
    return jax.lax.dot_general(x, y, (((0,), (0,)), ((), ())), precision=ops.precision(x.dtype))


matmul.defvjp(_forward, _backward)
