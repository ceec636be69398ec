"""Cuts and merges of changes that are measured on inputs: ||X (D - D')|| instead of ||D - D'||.

Legend: D (in, out) a change, y = x D; S = X^T X (in, in) the Gram matrix of its inputs, singular or
not; error^2 = tr(D^T S D). The leading eigenvectors U (out, r) of D^T S D are the answer of every
rank at once: D' = D U U^T, without an inverse or a root of S.

Source: compare Jin et al. (2023), Dataless knowledge fusion, equation 2 (RegMean), whose merged
kernel is the unrestricted minimum of `merged`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from finetune.adapters.method import Factors
from finetune.algebra.spectra import joined
from rankwise import checks


class Weighted(NamedTuple):
    """The best factors of every rank up to r, as prefixes.

    Attributes:
      factors: a (in, r), b (r, out), b of orthonormal rows.
      errors: (r + 1,), the least error of each rank from 0 to r.
    """

    factors: Factors
    errors: np.ndarray


def resized(factors: Factors, gram: np.ndarray, rank: int) -> Weighted:
    """min ||X (a b - D')||_F over D' of that rank, from S = X^T X.

    Args:
      factors: a (in, k), b (k, out).
      gram: S (in, in), symmetric and positive semi-definite.
      rank: r >= 1; at most k are written.

    Raises:
      ValueError: a Gram matrix of another size, not symmetric or not finite; a rank below 1.

    Example:
      >>> result = resized(Factors(np.eye(2), np.diag([1.0, 2.0])), np.diag([9.0, 1.0]), 1)
      >>> result.errors.tolist(), abs(result.factors.a @ result.factors.b).tolist()
      ([3.605551275463989, 2.0], [[1.0, 0.0], [0.0, 0.0]])
    """
    a, b = (np.asarray(factor, np.float64) for factor in factors)
    gram = _gram("gram", gram, len(a))
    q, root = np.linalg.qr(b.T)  # b^T = q root, so that D = a root^T q^T
    left = a @ root.T
    return _leading(left, left.T @ gram @ left, q, rank, 0.0)


def merged(
    terms: Sequence[Factors], grams: Sequence[np.ndarray], rank: int, *, ridge: float = 0.0
) -> Weighted:
    """min sum_i ||X_i (a_i b_i - D')||_F^2 over D' of that rank: one change for the tasks of all.

    Without the limit on the rank, D = S^+ sum_i S_i a_i b_i, S = sum_i S_i; the leading
    eigenvectors U of D^T S D are those of the answer D U U^T. S^+ leaves out eigenvalues below the
    rounding of the largest. Only Gram matrices travel, no inputs.

    Args:
      terms: a_i (in, k_i), b_i (k_i, out).
      grams: S_i (in, in), one for each.
      rank: r >= 1.
      ridge: adds ridge tr(S_i) / in to the diagonal of each S_i, for few inputs.

    Raises:
      ValueError: another number of Gram matrices, or as `resized`.

    Example:
      >>> one, two = (Factors(np.eye(2), np.diag(d)) for d in ([2.0, 0.0], [0.0, 1.0]))
      >>> result = merged([one, two], [np.diag([1.0, 0.0]), np.diag([0.0, 1.0])], 2)
      >>> (result.factors.a @ result.factors.b).round(6).tolist(), result.errors.round(6).tolist()
      ([[2.0, 0.0], [0.0, 1.0]], [2.236068, 1.0, 0.0])
    """
    if not terms or len(terms) != len(grams):
        raise ValueError(
            f"grams are {len(grams)} matrices for {len(terms)} changes; allowed is one for each"
        )
    pairs = [tuple(np.asarray(factor, np.float64) for factor in term) for term in terms]
    size = len(pairs[0][0])
    grams = [_gram(f"grams[{i}]", gram, size) for i, gram in enumerate(grams)]
    grams = [g + ridge * np.trace(g) / size * np.eye(size) for g in grams]
    sides = [gram @ a for gram, (a, _) in zip(grams, pairs, strict=True)]
    q, root = np.linalg.qr(np.concatenate([b for _, b in pairs]).T)
    cross = np.concatenate(sides, axis=1) @ root.T  # sum_i S_i D_i = cross q^T
    lengths, vectors = np.linalg.eigh(sum(grams))
    live = lengths > max(size * np.finfo(np.float64).eps * lengths[-1], 0)
    inverse = vectors[:, live] / lengths[live] @ vectors[:, live].T
    best = inverse @ cross
    energy = sum(
        float(np.sum((a.T @ side) * (b @ b.T))) for (a, b), side in zip(pairs, sides, strict=True)
    )
    inner = best.T @ cross
    return _leading(best, (inner + inner.T) / 2, q, rank, energy - float(np.trace(inner)))


def distance(terms: Sequence[Factors], grams: Sequence[np.ndarray], factors: Factors) -> float:
    """(sum_i ||X_i (a_i b_i - a b)||_F^2)^(1/2), to rounding of the largest term.

    Example:
      >>> one, two = Factors(np.eye(2), np.eye(2)), Factors(np.eye(2), np.diag([1.0, 0.0]))
      >>> distance([one], [np.diag([1.0, 9.0])], two)
      3.0
    """
    total = 0.0
    for term, gram in zip(terms, grams, strict=True):
        a, b = joined([term, factors], [1.0, -1.0])
        total += float(np.sum((a.T @ (gram @ a)) * (b @ b.T)))
    return float(np.sqrt(max(total, 0.0)))


def _leading(left: np.ndarray, inner: np.ndarray, q: np.ndarray, rank: int, rest: float):
    """left q^T on the leading eigenvectors of `inner`, whose eigenvalues are squares of errors."""
    rank = checks.integer("rank", rank, 1)
    squares, vectors = np.linalg.eigh(inner)
    squares, vectors = np.maximum(squares[::-1], 0), vectors[:, ::-1]
    rank = min(rank, len(squares))
    tails = np.append(np.cumsum(squares[::-1])[::-1], 0)[: rank + 1] + max(rest, 0.0)
    directions = vectors[:, :rank]
    return Weighted(Factors(left @ directions, (q @ directions).T), np.sqrt(tails))


def _gram(name: str, gram: np.ndarray, size: int) -> np.ndarray:
    gram = np.asarray(checks.array(name, gram), np.float64)
    if gram.shape != (size, size):
        raise ValueError(f"{name} has shape {gram.shape}; allowed is {(size, size)}, of the inputs")
    largest = abs(gram).max()
    if abs(gram - gram.T).max() > 1e-4 * largest:
        raise ValueError(f"{name} is not symmetric; allowed is X^T X of inputs X in rows")
    if (np.diag(gram) < -1e-4 * largest).any():
        raise ValueError(f"{name} has a negative diagonal; allowed is X^T X of inputs X in rows")
    return (gram + gram.T) / 2
