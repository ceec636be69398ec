"""Adapters that do not start at zero, with their start subtracted: nothing changes at first.

    y = x W + ((drop(x) a) * gain) b - ((x a0) * gain) b0

The base keeps its kernel W; others store W - a0 diag(gain) b0 in its place and have to carry that
changed base along. aux[path] has gain (R,), a0 (in, R) and b0 (R, out), the start as it is stored.
"""

from __future__ import annotations

import jax
import numpy as np

from finetune.adapters.method import Drop, Factors, Leaves
from finetune.models.parts.ops import matmul


def apply(x: jax.Array, kernel: jax.Array, theta: Leaves, aux: Leaves, drop: Drop) -> jax.Array:
    """y in the dtype of x; the offset sees x itself, as a changed base would."""
    gain = aux["gain"].astype(x.dtype)
    now = matmul(matmul(drop(x), theta["a"]) * gain, theta["b"])
    # In this order: at the start the bracket is zero to the bit, in any precision.
    return matmul(x, kernel) + (now - matmul(matmul(x, aux["a0"]) * gain, aux["b0"]))


def lookup(ids: jax.Array, table: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """Rows `ids` of table + a diag(gain) b - a0 diag(gain) b0."""
    gain = aux["gain"].astype(table.dtype)
    now = matmul(theta["a"].astype(table.dtype)[ids] * gain, theta["b"])
    first = matmul(aux["a0"].astype(table.dtype)[ids] * gain, aux["b0"])
    return table[ids] + (now - first)


def export(kernel: jax.Array, theta: Leaves, aux: Leaves) -> Factors:
    """The change of the kernel as plain factors of rank 2 R, [a, -a0] and [b; b0]."""
    del kernel
    gain = np.asarray(aux["gain"])
    a = np.hstack([np.asarray(theta["a"]) * gain, -np.asarray(aux["a0"]) * gain])
    return Factors(a, np.vstack([np.asarray(theta["b"]), np.asarray(aux["b0"])]))
