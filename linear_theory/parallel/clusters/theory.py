"""Workers on a group of r components that nearly tie: bounds from the gap around the group.

Legend: M (m, d) has singular values s_1 >= ... >= s_r > s_{r+1}, and the gaps within the group,
s_k - s_{k+1} for k < r, may vanish; V (d, r) are its right singular vectors. Worker k holds b_k and
a unit row a_k; M_k = M - sum_{j<k} b_j a_j^T. Lagged workers see their predecessors as they were
one round ago; consistent ones as they are in this round. All functions keep float64 and take
batches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from linear_theory.instances.random_matrices import unit_rows

Array = np.ndarray


class Workers(NamedTuple):
    """b (..., r, m) and unit rows a (..., r, d) of all workers."""

    b: Array
    a: Array


def lagged_round(target: Array, workers: Workers) -> Workers:
    """One round of a alternating step each, against the predecessors of the round before.

    Example:
      >>> a = np.eye(2)[:, ::-1].copy()
      >>> lagged_round(np.diag([2.0, 1.0]), Workers(a * [[1.0], [2.0]], a)).b.tolist()
      [[0.0, 1.0], [2.0, 0.0]]
    """
    b, a = [], []
    rest = target
    for k in range(workers.a.shape[-2]):
        image = np.einsum("...ij,...j->...i", rest, workers.a[..., k, :])
        right = unit_rows(np.einsum("...ij,...i->...j", rest, image))
        b.append(np.einsum("...ij,...j->...i", rest, right))
        a.append(right)
        rest = rest - workers.b[..., k, :, None] * workers.a[..., k, None, :]
    return Workers(np.stack(b, axis=-2), np.stack(a, axis=-2))


def consistent_round(target: Array, workers: Workers) -> Workers:
    """The same against the predecessors of this round: two triangular systems.

    tril(A A^T) B = A M^T, u_k = b_k / |b_k|, tril(U U^T) C = U M; then a_k = c_k / |c_k| and
    b_k = |c_k| u_k.

    Source: `deflation.solvers.consistency`.
    """
    a = workers.a
    b = np.linalg.solve(np.tril(a @ a.mT), a @ target.mT)
    u = unit_rows(b)
    c = np.linalg.solve(np.tril(u @ u.mT), u @ target)
    size = np.linalg.norm(c, axis=-1, keepdims=True)
    return Workers(size * u, c / size)


def tangent(right: Array, rows: Array) -> Array:
    """||tan Theta||_F between span(V) and the span of as many rows (..., r, d).

    Example:
      >>> float(tangent(np.eye(3)[:, :2], np.array([[1.0, 0, 0], [0, 1.0, 0.5]])))
      0.5
    """
    inside = rows @ right
    outside = rows - inside @ right.mT
    return np.linalg.norm(np.linalg.solve(inside, outside), axis=(-2, -1))


def span_bound(values: Array, rank: int, start: Array, rounds: Array) -> Array:
    """||tan Theta_l||_F <= (s_{r+1} / s_r)^{2 l} ||tan Theta_0||_F for consistent workers.

    Proof: both triangles combine a row with those before it only, so span(a) becomes its image
    under M^T M; in the basis of V and its complement tan Theta is the matrix X of the span
    {(v, X v)}, which becomes S_out^2 X S_in^{-2}.
    """
    ratio = values[..., rank] / values[..., rank - 1]
    return ratio ** (2 * rounds) * start


def lag_bound(values: Array) -> Array:
    """Error of a pair's sum in its own plane: s_1 (1 - q) / sqrt(2 q), q = (s_2 / s_1)^2.

    ||b_1 a_1^T + b_2 a_2^T - M||_F for M of rank two and lagged workers, in every round after the
    first two and from any start: it vanishes with the gap, where single components stay undefined.

    Proof: a_1 at angle t to v_1 moves to tan t' = q tan t. Worker 2 sees M (I - a a^T) with the
    a_1 of the round before, so a_2 is orthogonal to it, b_2 = M a_2, and the sum misses
    M (e e^T - a_2 a_2^T) with e orthogonal to the present a_1: at most s_1 sqrt(2) sin(t - t').
    With x = tan t the sine is x (1 - q) / sqrt((1 + x^2)(1 + q^2 x^2)), at most
    x (1 - q) / (1 + q x^2), and this at most (1 - q) / (2 sqrt(q)).

    Example:
      >>> float(lag_bound(np.array([1.0, 1.0])))
      0.0
    """
    q = (values[..., 1] / values[..., 0]) ** 2
    return values[..., 0] * (1 - q) / np.sqrt(2 * q)
