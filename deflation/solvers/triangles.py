"""Inverses of small triangles by products alone.

On a CPU a triangular solve of XLA's is LAPACK's. It wants its right-hand side by columns, which
turns the layout of everything around it, and where it is threaded its threads spin for milliseconds
after they are done, on the cores that the next product should have. The inverse of a triangle that
is well-conditioned loses nothing, and is applied at the rate of a product.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deflation.problem.components import product


def lower_inverse(triangle: jax.Array) -> jax.Array:
    """The inverse (r, r) of a lower triangle (r, r); what is above its diagonal is not read.

    [[A, 0], [C, B]]^-1 = [[A^-1, 0], [-B^-1 C A^-1, B^-1]], from the diagonal on, for all blocks of
    a size at once: 2 log2(r) batched products, r^3/3 multiplications. In the dtype of the triangle;
    a zero on its diagonal gives infinities.

    Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), section 14.2.

    Example:
      >>> import jax.numpy as jnp
      >>> lower_inverse(jnp.array([[2.0, 0.0], [1.0, 4.0]])).tolist()
      [[0.5, 0.0], [-0.125, 0.25]]
    """
    r = triangle.shape[0]
    size = 1 << (r - 1).bit_length()
    padded = jnp.eye(size, dtype=triangle.dtype).at[:r, :r].set(triangle)
    inverses = 1 / jnp.diagonal(padded)[:, None, None]
    while inverses.shape[0] > 1:
        pairs, width = inverses.shape[0] // 2, inverses.shape[1]
        pair = jnp.arange(pairs)
        below = padded.reshape(pairs, 2, width, pairs, 2, width)[pair, 1, :, pair, 0]
        first, second = inverses[0::2], inverses[1::2]
        below = -product(product(second, below), first)
        top = jnp.concatenate([first, jnp.zeros_like(first)], axis=2)
        inverses = jnp.concatenate([top, jnp.concatenate([below, second], axis=2)], axis=1)
    return inverses[0, :r, :r]
