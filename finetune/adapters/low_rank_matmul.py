"""y = x (W + a diag(gain) b): a product with a changed kernel, its derivatives low-rank.

    dy = dx W + (((dx a) + (x da)) * gain + (x a) * dgain) b + ((x a) * gain) db  (+ x dW)

Forward it is one product, where of a sum of two the backward pass keeps both. Backward nothing has
the size of W unless dL/dW is asked for.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from finetune.models.parts import ops


def fits(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether `matmul` is cheaper than x W + (x a) b, and as exact.

    Forming W + a b costs in * out for every component, the low-rank products rows * (in + out).
    Below float32 a small change of a kernel would be lost in it.
    """
    size_in, size_out = kernel.shape
    cheaper = size_in * size_out <= math.prod(x.shape[:-1]) * (size_in + size_out)
    return cheaper and x.dtype == kernel.dtype and kernel.dtype.itemsize >= 4


@jax.custom_jvp
def matmul(
    x: jax.Array, kernel: jax.Array, a: jax.Array, gain: jax.Array, b: jax.Array
) -> jax.Array:
    """x (W + a diag(gain) b).

    Args:
      x: (..., in), of the dtype of the kernel.
      kernel: (in, out), float32 or float64.
      a, gain, b: (in, r), (r,), (r, out); r may be 0.

    Returns:
      (..., out), with derivatives by all arguments.

    Example:
      >>> import jax.numpy as jnp
      >>> a, b = jnp.ones((2, 1)), jnp.ones((1, 2))
      >>> matmul(jnp.ones((1, 2)), jnp.eye(2), a, jnp.full(1, 3.0), b).tolist()
      [[7.0, 7.0]]
    """
    return ops.matmul(x, kernel + ops.matmul(a * gain, b))


@functools.partial(matmul.defjvp, symbolic_zeros=True)
def _derivative(values, changes):
    x, kernel, a, gain, b = values
    of_x, of_kernel, of_a, of_gain, of_b = (
        None if isinstance(change, SymbolicZero) else change for change in changes
    )
    inner = ops.matmul(x, a)
    through_rank, whole = [], []
    if of_a is not None:
        through_rank.append(_along_rows(x, of_a.T * gain[:, None]))
    if of_gain is not None:
        through_rank.append(inner * of_gain)
    if of_x is not None:
        through_rank.append(ops.matmul(of_x, a) * gain)
        whole.append(ops.matmul(of_x, kernel))
    if of_kernel is not None:
        whole.append(ops.matmul(x, of_kernel))
    if of_b is not None:
        whole.append(ops.matmul(inner * gain, of_b))
    if through_rank:
        whole.append(ops.matmul(functools.reduce(jnp.add, through_rank), b))
    return matmul(*values), functools.reduce(jnp.add, whole)


def _along_rows(x: jax.Array, y: jax.Array) -> jax.Array:
    """x y^T of (..., in) and (r, in).

    Its derivative by y is a product (r, in) with the gain between it and the transpose to (in, r).
    Side by side the compiler folds the two into one, which on a CPU reads x along the wrong axis
    in ten times the time.
    """
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    found = jax.lax.dot_general(rows, y, (((1,), (1,)), ((), ())), precision=ops.precision(x.dtype))
    return found.reshape(*x.shape[:-1], y.shape[0])
