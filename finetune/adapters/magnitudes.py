"""Kernels whose columns have lengths of their own: W' = V diag(m / |V|), V = W + a diag(gain) b.

|V| (out,) are the lengths of the columns of V, over the inputs; m (out,) is what they are set to.
They are had without forming V, which is as large as W: with a' = a diag(gain),

    |V_j|^2 = |W_j|^2 + b_j^T (2 W^T a')_j + b_j^T (a'^T a') b_j

theta[path] has a (in, R), b (R, out) and magnitude (out,), aux[path] gain (R,) and square (out,),
which is |W_j|^2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from finetune.adapters.method import Drop, Leaves
from finetune.models.parts.ops import matmul


def squares(kernel: jax.Array) -> jax.Array:
    """|W_j|^2 (out,), float32, or float64 for float64 kernels.

    Example:
      >>> squares(jnp.array([[3.0, 0.0], [4.0, 2.0]])).tolist()
      [25.0, 4.0]
    """
    wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    return jnp.sum(wide**2, axis=0)


def lengths(kernel: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """|V| (out,), a constant of differentiation, in the dtype of `squares`.

    Example:
      >>> kernel = jnp.array([[3.0], [4.0]])
      >>> theta = {"a": jnp.array([[1.0], [0.0]]), "b": jnp.array([[-3.0]])}
      >>> lengths(kernel, theta, {"gain": jnp.ones(1), "square": squares(kernel)}).tolist()
      [4.0]
    """
    square = aux["square"]
    a = theta["a"].astype(square.dtype) * aux["gain"].astype(square.dtype)
    a, b = jax.lax.stop_gradient((a, theta["b"].astype(square.dtype)))
    mixed = 2 * matmul(kernel.T.astype(square.dtype), a).T + matmul(matmul(a.T, a), b)
    total = square + jnp.sum(mixed * b, axis=0)
    # Where a b cancels W the sum is a difference of close numbers, and what is left of it below
    # one rounding of |W|^2 is noise, which may be negative.
    return jnp.sqrt(jnp.maximum(total, jnp.finfo(square.dtype).eps * square))


def factor(kernel: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """m / |V| (out,); of a column that is zero in W and in V it is 0 if m is."""
    tiny = jnp.finfo(aux["square"].dtype).tiny
    return theta["magnitude"] / jnp.maximum(lengths(kernel, theta, aux), tiny)


def apply(x: jax.Array, kernel: jax.Array, theta: Leaves, aux: Leaves, drop: Drop) -> jax.Array:
    """x W + (f - 1) * (drop(x) W) + f * ((drop(x) a') b) with f = m / |V|; x W' without dropout.

    Dropout acts on everything that the adapter adds, so on a part of x W too, as in PEFT.
    """
    f = factor(kernel, theta, aux)
    thinned = drop(x)
    low = matmul(matmul(thinned, theta["a"]) * aux["gain"].astype(x.dtype), theta["b"])
    # Without dropout both products with W are one to the compiler. f - 1 is taken before it is
    # rounded to the dtype of x.
    rest = (f - 1).astype(x.dtype) * matmul(thinned, kernel) + f.astype(x.dtype) * low
    return matmul(x, kernel) + rest


def lookup(ids: jax.Array, table: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """Rows `ids` of W'."""
    inner = theta["a"].astype(table.dtype)[ids] * aux["gain"].astype(table.dtype)
    f = factor(table, theta, aux).astype(table.dtype)
    return f * (table[ids] + matmul(inner, theta["b"]))
