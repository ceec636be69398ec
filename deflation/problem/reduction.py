"""The exact reduction of min_W ||Y - W X||_F to the approximation of an (m, d) matrix.

Legend: X (d, n) inputs, Y (m, n) targets. A summary of the columns seen so far is the pair
r (k, d), z (m, k), k <= d, with X = r^T Q^T and z = Y Q for some Q (n, k) with orthonormal columns
that is never kept. Folding more columns in is one QR factorisation; n is gone.

All functions take the array namespace `xp` (numpy or jax.numpy): data that stream from a disk are
folded on the host in float64, data in memory are folded on the device and may be traced.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from deflation.problem.components import frobenius, product
from rankwise.compiling import jit_quickly


def nothing(xp, d: int, m: int, dtype):
    """The summary of no columns: r (0, d), z (m, 0), and nothing unexplained, no columns."""
    return xp.zeros((0, d), dtype), xp.zeros((m, 0), dtype), 0.0, 0


def fold(xp, r, z, x, y):
    """The summary of the columns seen so far and of x (d, n), y (m, n).

    Returns:
      r, z of the union, and ||Y (I - Q Q^T)||_F, the size of what left the span of the inputs. It
      is computed from the part that is left, not as a difference of squares, so it is accurate
      however small it is.
    """
    inputs = xp.concatenate([r, x.T])
    targets = xp.concatenate([z, y], axis=1)
    q, r = xp.linalg.qr(inputs)
    dot = _dot(xp)
    z = dot(targets, q)
    outside = targets - dot(z, q.T)
    return r, z, frobenius(outside, xp)


def whiten(xp, r, z, eps):
    """Symmetric whitening of a summary: with r = u s v^T, S^(1/2) = v s v^T and M = z u v^T.

    Directions with s below rounding are no directions of X: they are left out by a mask, never by
    a shape that depends on data (rank-deficient X, d > n, collinear rows). `eps` is that of the
    data, which may have been rounded more coarsely than the summary is kept.

    Returns:
      target M (m, d), whitener S^(-1/2) (d, d), root S^(1/2) (d, d), the size of Y in the
      directions left out, and the rank of X.
    """
    u, s, vt = xp.linalg.svd(r, full_matrices=False)
    cutoff = max(r.shape) * eps * s[0]
    keep = s > cutoff
    inverse = xp.where(keep, 1 / xp.where(keep, s, 1), 0)
    dot = _dot(xp)
    inside = dot(z, u)
    outside = xp.where(keep, 0, inside)
    leaving = z - dot(inside, u.T)
    target = dot(xp.where(keep, inside, 0), vt)
    whitener = dot(vt.T * inverse, vt)
    root = dot(vt.T * xp.where(keep, s, 0), vt)
    lost = together(xp, frobenius(outside, xp), frobenius(leaving, xp))
    return target, whitener, root, lost, xp.sum(keep)


def together(xp, *sizes):
    """The size of parts that are orthogonal to each other, from theirs."""
    return frobenius(xp.stack([xp.asarray(size) for size in sizes]), xp)


@functools.partial(jit_quickly, level=1)
def reduced(r, z, left, count, x, y) -> tuple:
    """The fields of a Regression of the columns seen so far and of x, y, in the dtype of these; one
    program."""
    r, z, outside = fold(jnp, r, z, x, y)
    left = together(jnp, left, outside)
    return finished(jnp, r, z, left, count + x.shape[1], x.dtype, jnp.finfo(x.dtype).eps)


def finished(xp, r, z, left, count, dtype, eps) -> tuple:
    """The fields of a Regression of a summary."""
    target, whitener, root, lost, rank = whiten(xp, r, z, eps)
    fields = (target, whitener, root, together(xp, left, lost), count - rank)
    return tuple(jnp.asarray(field, dtype) for field in fields)


def _dot(xp):
    """The product at full precision: accelerators round float32 products by default."""
    return xp.matmul if xp is np else product
