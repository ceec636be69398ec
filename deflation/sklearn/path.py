"""Reduced-rank regression at all ranks at once, and its error on samples that it has not seen.

Legend: moments of x (d,) and y (m,); q = min(m, d); W_r = U_r A_r with orthonormal U (m, q).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from deflation.problem.moments import Moments, whitened


class Scaling(NamedTuple):
    """Centres and scales of inputs and outputs: zeros and ones where they are left as they are."""

    x_centre: np.ndarray
    y_centre: np.ndarray
    x_scale: np.ndarray
    y_scale: np.ndarray

    @classmethod
    def of(cls, moments: Moments, intercept: bool, standardise: bool) -> Scaling:
        """Means, and standard deviations (root mean squares without intercept); 1 for 0."""
        x, y = moments.x_mean, moments.y_mean
        x, y = (x, y) if intercept else (np.zeros_like(x), np.zeros_like(y))
        if not standardise:
            return cls(x, y, np.ones_like(x), np.ones_like(y))
        gram, _, squares = moments.about(x, y)
        spreads = (np.sqrt(sums / moments.count) for sums in (np.diag(gram), squares))
        return cls(x, y, *(np.where(spread > 0, spread, 1) for spread in spreads))

    def moments(self, moments: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """gram, cross and squares of scaled samples."""
        gram, cross, squares = moments.about(self.x_centre, self.y_centre)
        x, y = self.x_scale, self.y_scale
        return gram / np.outer(x, x), cross / np.outer(y, x), squares / y**2


class Path(NamedTuple):
    """The best W_r of every rank r: the sum of the first r columns of U times rows of A.

    Attributes:
      sizes: singular values s_k of M (q,); rank r explains sum_{k<=r} s_k^2 of ||Y||^2.
      left: U (m, q), orthonormal columns.
      right: A (q, d), in scaled coordinates.
    """

    sizes: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def error(self, gram, cross, squares) -> np.ndarray:
        """||Y - W_r X||_F^2 for r = 0..q of the samples with these moments, shape (q + 1,)."""
        crossed = np.sum((self.left.T @ cross) * self.right, axis=1)
        own = np.sum((self.right @ gram) * self.right, axis=1)
        errors = np.sum(squares) + np.concatenate([[0.0], np.cumsum(own - 2 * crossed)])
        return np.maximum(errors, 0)


def path(gram: np.ndarray, cross: np.ndarray, ridge: float = 0.0) -> Path:
    """All ranks of min_W ||Y - W X||_F^2 + ridge ||W||_F^2 by one decomposition.

    Source: Izenman (1975); Mukherjee and Zhu (2011) for the ridge.

    Example:
      >>> fitted = path(np.eye(2), np.diag([3.0, 1.0]))
      >>> fitted.error(np.eye(2), np.diag([3.0, 1.0]), 10.0).round(6).tolist()
      [10.0, 1.0, 0.0]
    """
    m, d = cross.shape
    q = min(m, d)
    if not (gram.any() and cross.any()):  # inputs or outputs that do not vary
        return Path(np.zeros(q), np.eye(m, q), np.zeros((q, d)))
    (target, whitener, *_), _ = whitened(gram + ridge * np.eye(d), cross, None, None)
    u, s, vt = np.linalg.svd(target, full_matrices=False)
    return Path(s, u, (s[:, None] * vt) @ whitener)


def held_out(
    pairs: Iterable[tuple[Moments, Moments]], intercept: bool, standardise: bool, ridge: float
) -> np.ndarray:
    """Mean squared error per entry of Y on each fold, of the ranks 0..q fitted to the others.

    One fit per fold gives all ranks. Standardised targets are compared in their own units.

    Args:
      pairs: of each fold, the moments of the samples that are fitted to, and its own.

    Returns:
      Errors (folds, q + 1).
    """
    rows = []
    for others, fold in pairs:
        scaling = Scaling.of(others, intercept, standardise)
        gram, cross, _ = scaling.moments(others)
        errors = path(gram, cross, ridge).error(*scaling.moments(fold))
        rows.append(errors / (fold.count * len(cross)))
    return np.array(rows)


def chosen(errors: np.ndarray, one_standard_error: bool) -> int:
    """The rank >= 1 of least mean error, or the least within one standard error of it.

    Example:
      >>> chosen(np.array([[9.0, 2.0, 1.8], [9.0, 1.0, 1.4]]), True)
      1
    """
    mean, deviation = errors.mean(axis=0), standard_errors(errors)
    best = 1 + int(np.argmin(mean[1:]))
    if not one_standard_error:
        return best
    return 1 + int(np.argmax(mean[1:] <= mean[best] + deviation[best]))


def standard_errors(errors: np.ndarray) -> np.ndarray:
    """Standard error of the mean over folds, for every rank."""
    return errors.std(axis=0, ddof=1) / np.sqrt(len(errors))


def fold_numbers(start: int, count: int, folds: int) -> np.ndarray:
    """The fold of the rows start, start + 1, ...: every block of `folds` rows has one row of each,
    turned by a number that looks random, so that no period in the data meets one of the folds.

    The number of a row alone decides, whatever pieces the rows arrive in.
    """
    row = np.arange(start, start + count, dtype=np.uint64)
    block = row // np.uint64(folds)
    # The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
    block = (block ^ (block >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    block = (block ^ (block >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    block ^= block >> np.uint64(31)
    return ((row + block % np.uint64(folds)) % np.uint64(folds)).astype(int)
