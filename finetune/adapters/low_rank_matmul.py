"""y = x (W + a diag(gain) b): a product with a changed kernel, its derivatives low-rank.

    dy = dx W + (((dx a) + (x da)) * gain + (x a) * dgain) b + ((x a) * gain) db  (+ x dW)

Forward it is one product, where of a sum of two the backward pass keeps both. Backward nothing has
the size of W unless dL/dW is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from finetune.models.parts import ops


def fits(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether `matmul` is cheaper than x W + (x a) b, and as exact.

    Forming W + a b costs in * out for every component, the low-rank products rows * (in + out).
    Below float32 a small change of a kernel would be lost in it, and so in a product for which an
    accelerator may round its operands.
    """
    size_in, size_out = kernel.shape
    cheaper = size_in * size_out <= math.prod(x.shape[:-1]) * (size_in + size_out)
    return cheaper and x.dtype == kernel.dtype and kernel.dtype.itemsize >= 4 and _exact(x.dtype)


def _exact(dtype) -> bool:
    asked = ops.asked()
    if asked is None or jax.default_backend() == "cpu":
        return asked is None or asked.dtype in (None, dtype)
    precise = (jax.lax.Precision.HIGHEST, (jax.lax.Precision.HIGHEST,) * 2)
    return asked.precision in precise and asked.dtype in (None, dtype)


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
    return _product(ops.asked(), x, kernel, a, gain, b)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _product(asked, x, kernel, a, gain, b):
    with ops.as_asked(*asked) if asked else contextlib.nullcontext():
        return ops.matmul(x, kernel + ops.matmul(a * gain, b))


@functools.partial(_product.defjvp, symbolic_zeros=True)
def _derivative(asked, values, changes):
    # The rule may be asked for when the program is long traced: `asked` holds no more then.
    with ops.as_asked(*asked) if asked else contextlib.nullcontext():
        return _product(asked, *values), _change(values, changes)


def _change(values, changes):
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
    return functools.reduce(jnp.add, whole)


def _along_rows(x: jax.Array, y: jax.Array) -> jax.Array:
    """x y^T of (..., in) and (r, in).

    Its derivative by y is a product (r, in) with the gain between it and the transpose to (in, r).
    Side by side the compiler folds the two into one, which on a CPU reads x along the wrong axis
    in ten times the time.
    """
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    asked = ops.asked()
    precision = asked.precision if asked else ops.precision(x.dtype)
    product = jax.lax.dot_general(rows, y, (((1,), (1,)), ((), ())), precision=precision)
    return product.reshape(*x.shape[:-1], y.shape[0])
