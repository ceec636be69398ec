"""The singular value decomposition of a product a b from its factors.

Legend: a (in, k), b (k, out), k small; a = Q_a R_a and b^T = Q_b R_b with R (k, k); the core
R_a R_b^T has the singular values of a b. In all 2 (in + out) k^2 operations instead of
in out min(in, out).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from finetune.adapters.method import Factors

WELL = 1e-7
"""Least ratio of eigenvalues of a Gram matrix at which its root still has 9 digits."""


class Spectrum(NamedTuple):
    """a b = (a left) diag(values) (right b), with orthonormal columns a left and rows right b.

    Attributes:
      a: (in, k).
      b: (k, out).
      left: (k, q).
      values: (q,), descending and positive: q is the rank.
      right: (q, k).
    """

    a: np.ndarray
    b: np.ndarray
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray

    @property
    def norm(self) -> float:
        """||a b||_F."""
        return float(np.linalg.norm(self.values))

    @property
    def cost(self) -> int:
        """Numbers that a component takes: in + out."""
        return self.a.shape[0] + self.b.shape[1]

    def error(self, rank: int) -> float:
        """min ||a b - X||_F over X of that rank: the norm of the values left out."""
        return float(np.linalg.norm(self.values[rank:]))

    def prefix(self, rank: int) -> Factors:
        """The best factors of that rank (in, r), (r, out), or of the least that is exact.

        Balanced: column i of a and row i of b have length sqrt(values[i]), so that every shorter
        prefix of them is the best of its rank as well.
        """
        root = np.sqrt(self.values[:rank])
        return Factors(
            self.a @ (self.left[:, :rank] * root), (root[:, None] * self.right[:rank]) @ self.b
        )


def spectrum(factors: Factors) -> Spectrum:
    """The singular values of a b and how to get at the vectors, in float64.

    Where the Gram matrices of the factors are well conditioned, once columns are scaled to length
    one, their Cholesky factors stand for R, which is several times faster; elsewhere Householder's
    QR.

    Args:
      factors: a (in, k), b (k, out), any floating dtype; k may be 0, or exceed in and out.

    Example:
      >>> own = spectrum(Factors(np.eye(3)[:, :2], np.array([[0.0, 3.0], [4.0, 0.0]])))
      >>> own.values.tolist(), own.error(1), own.prefix(1).a.shape
      ([4.0, 3.0], 3.0, (3, 1))
    """
    a, b = (np.asarray(factor, np.float64) for factor in factors)
    a, root_a, lift_a = _side(a)
    b_t, root_b, lift_b = _side(b.T)
    left, values, right = np.linalg.svd(root_a @ root_b.T)
    size = max(a.shape[0], b_t.shape[0])
    rank = int((values > values[:1].sum() * size * np.finfo(np.float64).eps).sum())
    left, right = lift_a @ left[:, :rank], right[:rank] @ lift_b.T
    return Spectrum(a, b_t.T, left, values[:rank], right)


def joined(terms: Iterable[Factors], weights: Iterable[float]) -> Factors:
    """sum_i w_i a_i b_i as factors of the sum of the ranks, in float64.

    Example:
      >>> one = Factors(np.ones((2, 1)), np.ones((1, 2)))
      >>> both = joined([one, one], [0.5, -0.25])
      >>> (both.a @ both.b).tolist()
      [[0.25, 0.25], [0.25, 0.25]]
    """
    terms = list(terms)
    # Cast as they are put together, and one array scaled in place: no copy of each.
    a = np.concatenate([a for a, _ in terms], axis=1, dtype=np.float64)
    a *= np.repeat([*map(float, weights)], [term.a.shape[1] for term in terms])
    return Factors(a, np.concatenate([b for _, b in terms], axis=0, dtype=np.float64))


def distance(first: Factors, second: Factors) -> float:
    """||a_1 b_1 - a_2 b_2||_F, to rounding of the larger of the two, from the factors."""
    a, b = joined([first, second], [1.0, -1.0])
    root_a, root_b = (np.linalg.qr(side, mode="r") for side in (a, b.T))
    return float(np.linalg.norm(root_a @ root_b.T))


def _side(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F (n, k) -> G, R, T with F = (G T) R and orthonormal columns of G T."""
    gram = factor.T @ factor
    scale = np.sqrt(np.diag(gram))
    if factor.shape[1] <= factor.shape[0] and (scale > 0).all():
        with contextlib.suppress(np.linalg.LinAlgError):  # of a singular matrix
            lower = np.linalg.cholesky(gram / np.outer(scale, scale))
            inverse = np.linalg.inv(lower)
            # k and ||L^-1||_F^2 bound the largest eigenvalue and the inverse of the least.
            if WELL * len(gram) * np.sum(inverse**2) <= 1:
                return factor, lower.T * scale, inverse.T / scale[:, None]
    q, r = np.linalg.qr(factor)
    return q, r, np.eye(q.shape[1])
