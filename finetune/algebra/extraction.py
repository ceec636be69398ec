"""The best factors of a difference of two kernels, by a randomised block method or exactly.

Legend: D (m, n) the change; Q orthonormal, its columns span D X, D D^T D X, ... of a random block
X. Every product serves twice: D^T Q_i is a block of the projection Q^T D, whose singular values
and vectors are the answer, and is what the next block starts from.

Source: Musco and Musco (2015), Randomized block Krylov methods, algorithm 2, with narrower blocks
and more of them, which take the same number of products further.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finetune.algebra.spectra import Spectrum
from rankwise import checks

SHARE = 2
"""A block is 1 / SHARE of the rank wide. With a quarter the same time ends five times as far
above the least error (4096 x 4096, s_i = i^-1/2, rank 64)."""
SMALL = 1e-3
"""Share of ||D||^2 below which a difference of squares in float32 has lost its digits."""


class Leading(NamedTuple):
    """The leading part of a change.

    Attributes:
      spectrum: of Q Q^T D.
      norm: ||D||_F.
      error: ||D - best prefix of the rank asked for||_F, measured.
    """

    spectrum: Spectrum
    norm: float
    error: float


def leading(delta: np.ndarray, rank: int, *, tolerance: float = 0.05, seed: int = 0) -> Leading:
    """min ||D - X||_F over X of that rank, to a relative accuracy that is looked at as it runs.

    Blocks are added until another one would lower ||D - X||_F by less than `tolerance` of it. At
    float32 the products with D are float32, all else is float64; the answer is a projection of D
    whatever the rounding, and its error is measured, not estimated.

    Args:
      delta: (m, n), float32 or float64.
      rank: r >= 1.
      tolerance: relative gain of a block that is not worth it; 0 goes on to the exact answer.
      seed: of the first block.

    Raises:
      ValueError: no finite matrix, or a rank below 1.

    Example:
      >>> delta = np.diag([5.0, 4.0, 3.0, 0.0])
      >>> leading_part = leading(delta, 2)
      >>> leading_part.spectrum.values[:2].round(6).tolist(), round(leading_part.error, 6)
      ([5.0, 4.0], 3.0)
    """
    delta = checks.array("delta", delta)
    rank = checks.integer("rank", rank, 1)
    norm = _norm(delta)
    width = max(-(-rank // SHARE), 8)
    least = min(delta.shape)
    if 4 * width >= least or not norm:
        leading_part = whole(delta)
        return Leading(leading_part, norm, leading_part.error(rank))
    start = np.random.default_rng(seed).standard_normal((delta.shape[1], width), delta.dtype)
    basis = _orthonormal(_product(delta, start))
    images = _product(delta.T, basis)  # (n, q), the transposed projection Q^T D
    while True:
        if basis.shape[1] + width > least:
            leading_part = whole(delta)
            return Leading(leading_part, norm, leading_part.error(rank))
        block = _product(delta, _orthonormal(images[:, -width:]))
        # Twice: what the first projection leaves of the basis is rounding of a larger block.
        for _ in range(2):
            block = _orthonormal(block - basis @ (basis.T @ block))
        basis = np.hstack([basis, block])
        images = np.hstack([images, _product(delta.T, block)])
        gram = images.T @ images
        if basis.shape[1] >= rank + width:
            before, missed = (_missed(g, rank, norm) for g in (gram[:-width, :-width], gram))
            if missed <= SMALL * norm or missed >= (1 - tolerance) * before:
                break
    squares, vectors = np.linalg.eigh(gram)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    count = int((squares > squares[0] * max(delta.shape) * np.finfo(np.float64).eps).sum())
    values, vectors = np.sqrt(squares[:count]), vectors[:, :count]
    leading_part = Spectrum(basis, images.T, vectors, values, vectors.T / values[:, None])
    return Leading(leading_part, norm, _error(delta, leading_part, rank, norm))


def whole(delta: np.ndarray) -> Spectrum:
    """All singular values of a change, by an eigendecomposition of its smaller side in float64.

    Values below 1e-8 of the largest are rounding. Takes min(m, n)^3 operations ten times over.
    """
    delta = np.asarray(delta, np.float64)
    if delta.shape[0] > delta.shape[1]:
        a, b, left, values, right = whole(delta.T)
        return Spectrum(b.T, a.T, right.T, values, left.T)
    squares, vectors = np.linalg.eigh(delta @ delta.T)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    count = int((squares > squares[:1].sum() * max(delta.shape) * np.finfo(np.float64).eps).sum())
    values, vectors = np.sqrt(squares[:count]), vectors[:, :count]
    rows = vectors.T @ delta / values[:, None]
    return Spectrum(vectors, rows, np.eye(count), values, np.eye(count))


def _norm(matrix: np.ndarray) -> float:
    """The Frobenius norm, summed in float64 row by row."""
    squares = np.einsum("ij,ij->i", matrix, matrix)
    return float(np.sqrt(squares.sum(dtype=np.float64)))


def _missed(gram: np.ndarray, rank: int, norm: float) -> float:
    """||D - X||_F of the best X of that rank in the span whose images have this Gram matrix."""
    return float(np.sqrt(max(norm**2 - np.linalg.eigvalsh(gram)[-rank:].sum(), 0.0)))


def _product(matrix: np.ndarray, block: np.ndarray) -> np.ndarray:
    return (matrix @ block.astype(matrix.dtype)).astype(np.float64)


def _orthonormal(block: np.ndarray) -> np.ndarray:
    """Orthonormal columns of the same span: the root of a Gram matrix where that has the digits."""
    gram = block.T @ block
    squares, vectors = np.linalg.eigh(gram)
    if squares[0] > 1e-7 * squares[-1]:
        return block @ (vectors / np.sqrt(squares))
    return np.linalg.qr(block)[0]


def _error(delta: np.ndarray, leading_part: Spectrum, rank: int, norm: float) -> float:
    """||D - prefix||_F: a difference of squares as long as that has digits, else row by row."""
    values = leading_part.values[:rank]
    missed = norm**2 - float(values @ values)
    if missed > SMALL * norm**2:
        return float(np.sqrt(missed))
    a, b = (factor.astype(delta.dtype) for factor in leading_part.prefix(rank))
    squares = 0.0
    for rows in range(0, len(delta), 256):
        part = delta[rows : rows + 256] - a[rows : rows + 256] @ b
        squares += float(np.einsum("ij,ij->", part, part, dtype=np.float64))
    return float(np.sqrt(squares))
