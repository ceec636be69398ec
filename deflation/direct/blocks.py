"""Leading components from a few blocks of vectors: block Krylov and Rayleigh-Ritz, by numpy.

Legend: M (m, d); basis rows V (size, d) in blocks of `width`; images P = V M^T (size, m).

That of `Sketch` without XLA: of a matrix that fits in a cache all of it takes some milliseconds, a
third of what the same products take in a program of many small loops. What is not a product is a
Cholesky factor of a block, and the eigenvectors of P P^T.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from deflation.problem.components import Components, canonical

LOST = 1e-6  # of the largest: below it a Cholesky factor's pivot is rounding of its Gram
# Of it: above it one pass leaves rows orthonormal to a few roundings of theirs, as the Gram has the
# square of their condition, in float64.
TURNED = {"float32": 1e-4, "float64": 0.03}
KEPT = 0.5  # of an orthonormal row, off the basis


class Effort(NamedTuple):
    """`size` basis rows in `depth` blocks, of which the last `kept` span the components."""

    width: int
    depth: int
    kept: int

    @property
    def size(self) -> int:
        """Rows of the basis."""
        return self.width * self.kept


# Rows of the basis over the rank, and blocks. Narrow blocks multiplied often find more than wide
# ones multiplied seldom, and are slower to multiply: to a residual within 1e-3 wide ones are ahead,
# to components within it those of 16 rows (512 and 1024 a side, rank 64, four spectra).
LADDER = ((1.9, 3), (2.25, 6), (2.5, 10), (3.0, 12), (4.0, 16), (6.0, 24))


def efforts(rank: int, limit: int) -> list[Effort]:
    """From cheap to accurate, those whose basis is at most half of the `limit` = min(m, d)."""
    ladder = [Effort(math.ceil(share * rank / depth), depth, depth) for share, depth in LADDER]
    ladder.insert(0, Effort(rank + 16, 2, 1))  # a power of M M^T: for a gap after the rank
    return [effort for effort in ladder if max(effort.size, effort.width) <= limit // 2]


def leading(matrix: np.ndarray, rank: int, effort: Effort) -> Components:
    """The leading components (r, .) of M V^T V, canonical, in the dtype of M (m, d), by about
    2 width depth columns of products.

    Source: Musco and Musco (2015), block Krylov iteration; Yamamoto, Nakatsukasa, Yanagisawa and
    Fukaya (2015), Cholesky QR repeated.
    """
    m, d = matrix.shape
    probe = np.random.default_rng(0).random((effort.width, m), np.float32) - np.float32(0.5)
    block = probe.astype(matrix.dtype, copy=False) @ matrix
    basis = np.empty((effort.size, d), matrix.dtype)
    images = np.empty((effort.size, m), matrix.dtype)
    end = 0
    for number in range(effort.depth):
        block = orthonormal(block, basis[:end])
        image = block @ matrix.T
        if effort.depth - number <= effort.kept:
            place = slice(end, end + effort.width)
            basis[place], images[place], end = block, image, place.stop
        if number < effort.depth - 1:
            block = _in_range(image) @ matrix
    turn = _right_vectors(images)[:rank].astype(matrix.dtype)
    return canonical(Components(turn @ images, turn @ basis), np)


def orthonormal(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Orthonormal rows (width, d) that span `rows` off the orthonormal `basis` (size, d).

    By Cholesky factors of Grams in float64, which hold squares of float32 without loss; by
    Householder's reflections where rows nearly depend on each other.
    """
    rows, turned = _in_range(rows), TURNED[rows.dtype.name]
    for number in range(4):
        rows = _off(rows, basis)
        wide = rows.astype(np.float64)
        try:
            triangle = np.linalg.cholesky(wide @ wide.T)
        except np.linalg.LinAlgError:
            return _householder(rows, basis)
        pivots = np.diagonal(triangle)
        least, largest = pivots.min(), pivots.max()
        if not least > LOST * largest:
            return _householder(rows, basis)
        rows = (np.linalg.inv(triangle) @ wide).astype(rows.dtype)
        # What a projection cancels leaves rounding along the basis: orthonormal rows (the first
        # ones are not) that hardly lose anything have none.
        if least > (KEPT if number else turned * largest) and (number or not len(basis)):
            break
    return rows


def _in_range(rows: np.ndarray) -> np.ndarray:
    """Only directions matter; unscaled, powers of M and squares would leave the range."""
    largest = np.abs(rows).max()
    return rows / largest if largest > 0 else rows


def _off(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return rows - (rows @ basis.T) @ basis if len(basis) else rows


def _householder(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Dependent rows are replaced by others, which have to be taken off the basis again."""
    for _ in range(2 if len(basis) else 0):
        rows = _off(np.linalg.qr(rows.T)[0].T, basis)
    return np.linalg.qr(rows.T)[0].T


def _right_vectors(images: np.ndarray) -> np.ndarray:
    """Rows W (size, size), largest first: the left singular vectors of the images (size, m)."""
    if images.dtype == np.float32:
        wide = images.astype(np.float64)
        return np.linalg.eigh(wide @ wide.T)[1].T[::-1]
    # Squares of float64 would lose half of the digits.
    return np.linalg.svd(np.linalg.qr(images.T, mode="r").T)[0].T
