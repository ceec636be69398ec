"""The best factors of a difference of two kernels, by a randomised block method or exactly.

Legend: D (m, n) the change; V orthonormal, its columns span X, D^T D X, ... of a block X of
combinations of rows of D. Every product serves twice: D V is a block of the projection D V V^T,
whose singular values and vectors are the answer, and is what the next block starts from.

Source: Musco and Musco (2015), Randomized block Krylov methods, algorithm 2, from rows of D instead
of random vectors, which spares a product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finetune.algebra.spectra import Spectrum
from rankwise import checks

WIDTH = 1.125
"""A block is that times the rank wide. Two of them, three products with D, end closer to the least
error than the six of a subspace iteration of the rank's width (4096 x 4096, s_i = i^-1/5, i^-1/2
and 1 / i, rank 64)."""
ROWS = 8
"""Rows of D drawn for a component, with which the first block is multiplied once: an eighth of the
work of one with D, for which blocks of 1.5 times the rank do no better without."""
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


def leading(delta: np.ndarray, rank: int, *, tolerance: float = 0.4, seed: int = 0) -> Leading:
    """min ||D - X||_F over X of that rank, to a relative accuracy that is looked at as it runs.

    Blocks are added until one has lowered ||D - X||_F by less than `tolerance` of what is left;
    where the singular values fall as i^-1/2 or 1 / i the next would lower it by a hundredth. At
    float32 blocks are float32 and their Gram matrices float64; the answer is a projection of D
    whatever the rounding, and its error is measured, not estimated.

    Args:
      delta: (m, n), float32 or float64.
      rank: r >= 1.
      tolerance: relative gain of the last block; 0 goes on to the exact answer.
      seed: of the first block.

    Raises:
      ValueError: no finite matrix, or a rank below 1.

    Example:
      >>> delta = np.diag([5.0, 4.0, 3.0, 0.0])
      >>> leading_part = leading(delta, 2)
      >>> leading_part.spectrum.values[:2].round(6).tolist(), round(leading_part.error, 6)
      ([5.0, 4.0], 3.0)
    """
    rank = checks.integer("rank", rank, 1)
    energies = _energies(delta)
    if not np.isfinite(energies).all():  # else so are all numbers, without another pass
        delta = np.asarray(checks.array("delta", delta), np.float64)
        energies = _energies(delta)
    norm = float(np.sqrt(energies.sum()))
    width = max(round(WIDTH * rank), 8)
    least = min(delta.shape)
    if 4 * width >= least or not norm:
        return _exact(delta, rank, norm)
    basis = _orthonormal(_combined(delta, energies, rank, width, seed))
    images = delta @ basis  # (m, q), D V
    before = np.inf  # of no block there is nothing to compare with
    while True:
        squares, vectors = np.linalg.eigh(_gram(images))
        missed = float(np.sqrt(max(norm**2 - squares[-rank:].sum(), 0.0)))
        if missed <= SMALL * norm or before < (1 + tolerance) * missed:
            break
        if basis.shape[1] + width > least:
            return _exact(delta, rank, norm)
        before = missed
        # As a row of products: faster by a quarter than D^T from the left.
        block = (_orthonormal(images[:, -width:]).T @ delta).T
        # Twice: what the first projection leaves of the basis is rounding of a larger block.
        for _ in range(2):
            block = _orthonormal(block - basis @ (basis.T @ block))
        basis = np.hstack([basis, block])
        images = np.hstack([images, delta @ block])
    squares, vectors = squares[::-1], vectors[:, ::-1]
    count = int((squares > squares[0] * max(delta.shape) * np.finfo(np.float64).eps).sum())
    values, vectors = np.sqrt(squares[:count]), vectors[:, :count]
    leading_part = Spectrum(images, basis.T, vectors / values, values, vectors.T)
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


def _energies(delta: np.ndarray) -> np.ndarray:
    """(m,) float64, the squared lengths of the rows; NaN for what is no matrix of numbers."""
    if np.ndim(delta) != 2 or delta.dtype not in (np.float32, np.float64):
        return np.array([np.nan])
    return np.einsum("ij,ij->i", delta, delta).astype(np.float64)


def _exact(delta: np.ndarray, rank: int, norm: float) -> Leading:
    leading_part = whole(delta)
    return Leading(leading_part, norm, leading_part.error(rank))


def _combined(
    delta: np.ndarray, energies: np.ndarray, rank: int, width: int, seed: int
) -> np.ndarray:
    """(n, width), random combinations of rows R of D that are drawn by their energies, times R^T R.

    R^T R is D^T D in expectation (Frieze, Kannan and Vempala), from a few rows.
    """
    random, shares = np.random.default_rng(seed), energies / energies.sum()
    rows = random.choice(len(delta), max(ROWS * rank, 2 * width), p=shares)
    # In units of ||D||, which may be beyond the squares of its dtype.
    drawn = delta[rows] / np.sqrt(energies[rows]).astype(delta.dtype)[:, None]
    mixing = random.standard_normal((width, len(rows))).astype(delta.dtype)
    images = drawn @ (mixing @ drawn).T
    return (_orthonormal(images).T @ drawn).T


def _gram(block: np.ndarray) -> np.ndarray:
    block = block.astype(np.float64, copy=False)
    return block.T @ block


def _orthonormal(block: np.ndarray) -> np.ndarray:
    """Orthonormal columns of the same span: the root of a Gram matrix where that has the digits."""
    squares, vectors = np.linalg.eigh(_gram(block))
    if squares[0] > 1e-7 * squares[-1]:
        return block @ (vectors / np.sqrt(squares)).astype(block.dtype)
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
