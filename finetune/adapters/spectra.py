"""The leading singular vectors of a gradient, with signs that do not depend on the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from finetune.adapters.method import Tree

SVDS = ("exact", "randomised")


class Spectrum(NamedTuple):
    """u diag(s) vt, singular values descending.

    Attributes:
      u: (in, k).
      s: (k,).
      vt: (k, out).
    """

    u: jax.Array
    s: jax.Array
    vt: jax.Array


def leading(
    matrix: jax.Array,
    count: int,
    key: jax.Array | None = None,
    width: int | None = None,
    iterations: int = 4,
) -> Spectrum:
    """The `count` largest singular triples; of each the largest |entry| of u is positive.

    Exactly, by a full decomposition, or with a key by `iterations` rounds of subspace iteration on
    `width` directions (Halko, Martinsson and Tropp 2011, algorithm 4.4). A full decomposition of
    768 x 768 takes a fraction of a second and is what a run can repeat; the other pays for large
    matrices, and its last directions are rough where the spectrum is flat.

    Args:
      matrix: (in, out), float32 or float64.
      count: k, at most min(in, out).
      key: of the first directions; None is exact.
      width: q >= k; at most min(in, out) are used.

    Example:
      >>> u, s, vt = leading(jnp.diag(jnp.array([1.0, -3.0])), 1)
      >>> u.ravel().tolist(), s.tolist(), (vt + 0).ravel().tolist()
      ([0.0, 1.0], [3.0], [0.0, -1.0])
    """
    with jax.default_matmul_precision("highest"):  # on an accelerator it would be rounded
        if key is None:
            u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
        else:
            size = min(max(width or count, count), *matrix.shape)
            start = jax.random.normal(key, (matrix.shape[1], size), matrix.dtype)
            basis = jnp.linalg.qr(matrix @ start)[0]
            for _ in range(iterations):
                basis = jnp.linalg.qr(matrix @ jnp.linalg.qr(matrix.T @ basis)[0])[0]
            inner, s, vt = jnp.linalg.svd(basis.T @ matrix, full_matrices=False)
            u = basis @ inner
    u, s, vt = u[:, :count], s[:count], vt[:count]
    largest = jnp.take_along_axis(u, jnp.argmax(jnp.abs(u), axis=0)[None], axis=0)[0]
    sign = jnp.where(largest < 0, -1, 1).astype(u.dtype)
    return Spectrum(u * sign, s, vt * sign[:, None])


def require_rank(rank: int, kernels: Mapping[str, jax.Array], times: int = 1) -> None:
    """Refuses a rank for which a kernel has not `times` * rank singular values.

    Raises:
      ValueError: naming the smallest kernel.
    """
    if not kernels:
        return
    path, kernel = min(kernels.items(), key=lambda one: min(one[1].shape))
    most = min(kernel.shape) // times
    if rank > most:
        why = f", as a start takes {times} r singular vectors" if times > 1 else ""
        raise ValueError(
            f"rank is {rank} with module {path} of {kernel.shape[0]} x {kernel.shape[1]}; "
            f"allowed are integers from 1 to {most}{why}"
        )


def subtracted(theta: Tree, scale: float) -> Tree:
    """aux of `offset`: gain (r,), every entry `scale`, and a0, b0, the very values of theta.

    A product of anything else, as of factors before a cast, would not cancel.
    """
    return {
        path: {
            "gain": jnp.full(leaves["b"].shape[:1], scale, leaves["a"].dtype),
            "a0": leaves["a"],
            "b0": leaves["b"],
        }
        for path, leaves in theta.items()
    }
