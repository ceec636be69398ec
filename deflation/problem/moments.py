"""Second moments of a regression: what data of any number of samples leave behind, and its problem.

Legend: X (d, n) inputs, Y (m, n) targets, S = X X^T, Z = Y X^T, E = ||Y||^2. All on the host in
float64: a moment has twice the exponents of the data, and half of their digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rankwise import checks

# How far a Gram may be from symmetric, and from positive, for float32 sums over many samples.
SLACK = 1e-4


class Moments(NamedTuple):
    """Means and centred second moments of n samples; those of a union follow from the parts'.

    Attributes:
      count: n, or the sum of the weights, with which every sample's part of what follows counts.
      x_mean, y_mean: (d,), (m,).
      gram: sum of (x - x_mean)(x - x_mean)^T, (d, d).
      cross: sum of (y - y_mean)(x - x_mean)^T, (m, d).
      squares: sum of (y - y_mean)^2 for every output, (m,).

    Source: Chan, Golub and LeVeque (1983) for the union.

    Example:
      >>> x, y = np.arange(6.0)[None], np.arange(6.0)[None] ** 2
      >>> both = Moments.of(x[:, :2], y[:, :2]).joined(Moments.of(x[:, 2:], y[:, 2:]))
      >>> bool(np.allclose(both.cross, Moments.of(x, y).cross)), both.count
      (True, 6)
    """

    count: float
    x_mean: np.ndarray
    y_mean: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, x, y, weight: np.ndarray | None = None) -> Moments:
        """Those of the columns x (d, n), y (m, n); either may be a matrix of scipy.sparse.

        Args:
          weight: (n,), not negative and not all 0: one of k counts as k equal samples do; None for
            1 each.
        """
        n = x.shape[1] if weight is None else float(np.sum(weight))
        if not (checks.is_sparse(x) or checks.is_sparse(y)):
            x, y = (np.asarray(part, np.float64) for part in (x, y))
            x_mean, y_mean = (np.average(part, axis=1, weights=weight) for part in (x, y))
            x, y = x - x_mean[:, None], y - y_mean[:, None]
            if weight is not None:
                x, y = x * np.sqrt(weight), y * np.sqrt(weight)
            return cls(n, x_mean, y_mean, x @ x.T, y @ x.T, np.sum(y**2, axis=1))
        # Zeros stay zeros: the means are taken off afterwards.
        x, y = (part.astype(np.float64) for part in (x, y))
        each = np.ones(x.shape[1]) if weight is None else weight
        x_mean, y_mean = (np.ravel(part @ each) / n for part in (x, y))
        if weight is not None:
            x, y = (_times(part, np.sqrt(weight)) for part in (x, y))
        squares = y.multiply(y).sum(axis=1) if checks.is_sparse(y) else np.sum(y**2, axis=1)
        return cls(
            n,
            x_mean,
            y_mean,
            _dense(x @ x.T) - n * np.outer(x_mean, x_mean),
            _dense(y @ x.T) - n * np.outer(y_mean, x_mean),
            np.ravel(squares) - n * y_mean**2,
        )

    def joined(self, other: Moments) -> Moments:
        """Those of both sets of samples."""
        count = self.count + other.count
        share = other.count / count
        x, y = other.x_mean - self.x_mean, other.y_mean - self.y_mean
        weight = self.count * share
        return Moments(
            count,
            self.x_mean + share * x,
            self.y_mean + share * y,
            self.gram + other.gram + weight * np.outer(x, x),
            self.cross + other.cross + weight * np.outer(y, x),
            self.squares + other.squares + weight * y**2,
        )

    def about(self, x_centre=0.0, y_centre=0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """gram, cross and squares about other centres than the means; by default about zero."""
        x, y = self.x_mean - x_centre, self.y_mean - y_centre
        return (
            self.gram + self.count * np.outer(x, x),
            self.cross + self.count * np.outer(y, x),
            self.squares + self.count * y**2,
        )


def all_joined(parts: Sequence[Moments]) -> Moments:
    """Those of the union of several, in pairs, so that rounding grows with log of their number."""
    parts = list(parts)
    while len(parts) > 1:
        pairs = [a.joined(b) for a, b in zip(parts[:-1:2], parts[1::2], strict=True)]
        parts = pairs + parts[len(pairs) * 2 :]
    return parts[0]


def _times(value, columns: np.ndarray):
    return value.multiply(columns).tocsr() if checks.is_sparse(value) else value * columns


def _dense(value) -> np.ndarray:
    return value.toarray() if checks.is_sparse(value) else np.asarray(value)


def whitened(gram, cross, energy, count) -> tuple[tuple, np.dtype]:
    """M = Z S^(-1/2) and what else `Regression` holds, from checked moments.

    Returns:
      target, whitener, root, unexplained, freedom, all in float64, and the dtype of the problem.

    Raises:
      ValueError: see `Regression.from_moments`.
    """
    gram, cross = _moment("gram", gram), _moment("cross", cross)
    dtype = checks.float_dtype(np.result_type(gram, cross))
    eps = np.finfo(gram.dtype if gram.dtype.kind == "f" else np.float64).eps
    (*fields, rank), _ = whitened_to(gram, cross, energy, eps)
    freedom = 0
    if count is not None:
        freedom = max(checks.integer("count", count, 1) - rank, 0)
    return (*fields, freedom), dtype


def whitened_to(gram, cross, energy, eps: float) -> tuple[tuple, float]:
    """M = Z S^(-1/2) from arrays of moments that are rounded to `eps`.

    Returns:
      target, whitener, root, unexplained and the rank of X, all in float64; and the condition of X
      on its range.

    Raises:
      ValueError: as `whitened`.
    """
    values, vectors = spectrum(gram, eps)
    d = len(values)
    if cross.shape[1] != d:
        raise ValueError(
            f"cross has shape {cross.shape} and gram {gram.shape}; allowed is (m, {d}), Y X^T"
        )
    checks.not_all_zero("cross", cross)
    keep = values > 0
    roots = np.sqrt(values)
    inverse = np.where(keep, 1 / np.where(keep, roots, 1), 0)
    whitener, root = (vectors * inverse) @ vectors.T, (vectors * roots) @ vectors.T
    target = ((cross.astype(np.float64) @ vectors) * inverse) @ vectors.T
    unexplained = 0.0
    if energy is not None:
        checks.positive("energy", energy)
        explained = float(np.sum(target**2))
        if explained > energy * (1 + SLACK):
            raise ValueError(
                f"energy is {energy:.6g} and the inputs explain {explained:.6g} of it; allowed is "
                "||Y||_F^2 of the same samples as gram and cross"
            )
        unexplained = np.sqrt(max(energy - explained, 0.0))
    condition = float(roots.max() * inverse.max())
    return (target, whitener, root, unexplained, int(keep.sum())), condition


def weighted(weight, gram, ridge: float) -> tuple[tuple, np.dtype]:
    """W0 T^(1/2) and T^(1/2), T = S + ridge tr(S)/d I, in float64, and the dtype of the problem."""
    weight, gram = _moment("weight", weight), _moment("gram", gram)
    checks.not_all_zero("weight", weight)
    values, vectors = spectrum(gram, np.finfo(np.float64).eps)
    d = len(values)
    if weight.shape[1] != d:
        raise ValueError(
            f"weight has shape {weight.shape} and gram {gram.shape}; allowed is (m, {d}), W0"
        )
    root = (vectors * np.sqrt(values + ridge * values.mean())) @ vectors.T
    target = weight.astype(np.float64) @ root
    return (target, root), checks.float_dtype(np.result_type(weight, gram))


def spectrum(gram: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, those below rounding set to 0, and eigenvectors of a Gram.

    Raises:
      ValueError: not square, not symmetric, a negative eigenvalue, all zeros.
    """
    d = len(gram)
    if gram.shape != (d, d):
        raise ValueError(f"gram has shape {gram.shape}; allowed is a square matrix, X X^T")
    checks.not_all_zero("gram", gram)
    gram = gram.astype(np.float64)
    size = np.abs(gram).max()
    gap = np.abs(gram - gram.T).max() / size
    if gap > SLACK:
        raise ValueError(f"gram differs from its transpose by {gap:.1e} of it; allowed is X X^T")
    # In units of its own size: the solver squares what it is given.
    values, vectors = np.linalg.eigh((gram / size + gram.T / size) / 2)
    if values[0] < -SLACK * max(values.sum() / d, np.finfo(float).tiny):
        raise ValueError(
            f"gram has the eigenvalue {values[0] * size:.3g}; allowed are none below 0: X X^T"
        )
    return np.where(values > d * eps * values[-1], values, 0) * size, vectors


def _moment(name: str, value) -> np.ndarray:
    if checks.traced(value):
        raise ValueError(f"{name} is traced; allowed are arrays: moments are whitened on the host")
    return np.asarray(checks.array(name, value))
