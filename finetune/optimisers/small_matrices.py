"""Inverses of r x r matrices that rounding may have pushed out of their set.

A gram matrix or a second moment is positive semi-definite; its smallest computed eigenvalues may
still be negative, and their roots and inverses NaN or of the wrong sign. They count as 0 here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from finetune.models.parts.ops import matmul


def damped_inverse(gram: jax.Array, damping: float) -> jax.Array:
    """(gram + damping I)^-1 of a positive semi-definite (r, r); damping > 0.

    Example:
      >>> damped_inverse(jnp.zeros((1, 1)), 0.5).tolist()
      [[2.0]]
    """
    values, vectors = jnp.linalg.eigh(gram)
    return matmul(vectors / (jnp.maximum(values, 0) + damping), vectors.T)


def inverse_root(gram: jax.Array, epsilon: float) -> jax.Array:
    """E diag(1 / (sqrt(w) + epsilon)) E^T of a positive semi-definite E diag(w) E^T (r, r).

    Example:
      >>> inverse_root(4 * jnp.eye(1), 0.0).tolist()
      [[0.5]]
    """
    values, vectors = jnp.linalg.eigh(gram)
    return matmul(vectors / (jnp.sqrt(jnp.maximum(values, 0)) + epsilon), vectors.T)


def pseudo_inverse(matrix: jax.Array) -> jax.Array:
    """(n, m) -> (m, n); singular values below max(m, n) roundings of the largest count as 0.

    Example:
      >>> pseudo_inverse(jnp.diag(jnp.array([2.0, 0.0]))).tolist()
      [[0.5, 0.0], [0.0, 0.0]]
    """
    # The threshold of torch; jax's own is ten times larger.
    return jnp.linalg.pinv(matrix, rtol=max(matrix.shape) * jnp.finfo(matrix.dtype).eps)
