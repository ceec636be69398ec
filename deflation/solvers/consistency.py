"""Consistency within a round: workers see their predecessors' new factors, for no extra exchange.

Legend: rows b (r, m) and unit rows a (r, d) of all workers, R_j = b_j a_j^T; B, A stack them.

Worker k's half-step in b, against what its predecessors have found in this very round, is

    b_k = (M - sum_{j<k} b_j a_j^T) a_k,      that is      tril(A A^T) B = A M^T,

one triangular system for all workers, since the a are those of the round before. The half-step in
a, with u_k = b_k / |b_k| and R_j = u_j c_j^T, is likewise tril(U U^T) C = U M. Its right-hand side
needs no second exchange, because products are linear: worker k sends M a_k and M^T M a_k, and the
same triangle turns A M^T into B and A M^T M into B M. So a round gathers r (m + d) numbers as
without consistency, needs two products with M instead of three, and costs two solves of r x r
systems with m and d right-hand sides, done by everybody.

That is Gauss-Seidel instead of Jacobi, in each factor. The triangles combine a row only with those
before it, so that the leading k rows span what they do in orthogonal iteration: no staggering is
needed, and no start makes two workers find the same direction. At a fixed point both read
M_k a_k = b_k, M_k^T b_k = |b_k|^2 a_k with M_k = M - sum_{j<k} R_j: those of plain deflation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, generic, normalise, product, row_norm
from deflation.problem.targets import Target, times, times_transposed
from deflation.solvers.triangles import lower_inverse


def payload(target: Target, own: Components, working: jax.Array) -> Components:
    """What a block of workers sends: M a_k and M^T M a_k; a resting one b_k and M^T b_k."""
    b = jnp.where(working[:, None], times(target, own.a), own.b)
    return Components(b, times_transposed(target, b))


def consistent_sweep(
    sent: Components, old: Components, weights: jax.Array, working: jax.Array
) -> Components:
    """All workers' new factors from what they sent.

    Args:
      sent: the gathered payloads (r, .).
      old: the factors they were computed from, unit rows a.
      weights: (r, r), strictly lower triangular, 1 where worker k subtracts component j.
      working: (r,); the others keep their factors, and are subtracted as they are.
    """
    weights = jnp.where(working[:, None], weights, 0).astype(old.a.dtype)
    inverse = _inverse(old.a, weights)
    b, image = product(inverse, sent.b), product(inverse, sent.a)  # (M_k a_k)_k, (M^T b_k)_k
    u, size = normalise(b), row_norm(b)
    image = jnp.where(working[:, None], image / jnp.where(size > 0, size, 1), size * old.a)
    a = product(_inverse(u, weights), image)
    scale = row_norm(a)
    # Nothing is left for this worker, or only rounding: it publishes nothing and starts afresh, as
    # it would otherwise stay for ever where its predecessors' components are.
    subtracted = jnp.max(weights * size.T, axis=1, keepdims=True)
    lost = (size <= 8 * jnp.finfo(b.dtype).eps * subtracted) | (scale == 0)
    fresh = normalise(generic((1, a.shape[1]), a.dtype))
    direction = jnp.where(lost, fresh, normalise(a))
    new = Components(jnp.where(lost, 0, u * scale), direction)
    keep = working[:, None]
    return Components(*(jnp.where(keep, x, y) for x, y in zip(new, old, strict=True)))


def _inverse(rows, weights):
    """The inverse (r, r) of the unit lower triangle with weights_kj (row_k . row_j) below its
    diagonal. Its rows are unit and nearly orthogonal, so that it is well-conditioned."""
    eye = jnp.eye(rows.shape[0], dtype=rows.dtype)
    return lower_inverse(product(rows, rows.T) * weights + eye)
