"""Matrices of scipy.sparse as products that JAX can trace."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rankwise import checks


def products(matrix) -> tuple:
    """What `Regression.from_operator` takes, of a matrix of scipy.sparse in any format.

    Raises:
      ValueError: as `checks.matrix` for its entries, or all of them zero.
    """
    from jax.experimental.sparse import BCOO

    matrix = matrix.tocoo()
    entries = jnp.zeros(0)
    if matrix.nnz:
        entries = checks.matrix("matrix", matrix.data[None])[0]
    checks.not_all_zero("matrix", entries)
    indices = jnp.asarray(np.stack([matrix.row, matrix.col], axis=1))
    held = BCOO((entries, indices), shape=matrix.shape)
    times, transposed = (jax.tree_util.Partial(f, held) for f in (_times, _transposed))
    return times, transposed, matrix.shape, entries.dtype


def _times(matrix, vector: jax.Array) -> jax.Array:
    return matrix @ vector


def _transposed(matrix, vector: jax.Array) -> jax.Array:
    return vector @ matrix
