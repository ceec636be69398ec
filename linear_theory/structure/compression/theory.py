"""Compression of a linear map under a metric, and sums of low-rank changes.

Legend: W0 (m, d) a map, X (d, n) its inputs, S = X X^T; T (d, d) any metric, T >= 0; Y (m, n)
targets, Z = Y X^T; r the rank; B (m, r), A (r, d) factors. Batch axes may be in front.
Factorisations are numpy's, as what is drawn once need not be compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linear_theory.instances.random_matrices import squared_norm


def project(weight: np.ndarray, metric: np.ndarray, rank: int) -> np.ndarray:
    """U_r U_r^T W0 with the r leading eigenvectors of W0 T W0^T.

    Proof that it is the best of rank r in ||(W0 - W) T^{1/2}||: W T^{1/2} has rank r, so the loss
    is at least the tail of W0 T^{1/2}; and (I - U_r U_r^T) W0 T^{1/2} has this tail, as U_r are its
    left singular vectors. Neither an inverse nor a root of T occurs.

    Source: proved above; Eckart and Young (1936).

    Example:
      >>> project(np.diag([1.0, 2.0]), np.diag([9.0, 1.0]), 1).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    u = directions(weight @ metric @ weight.mT, rank)
    return u @ (u.mT @ weight)


def directions(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The leading eigenvectors of a symmetric matrix (..., m, m), as columns (..., m, r)."""
    return np.linalg.eigh((matrix + matrix.mT) / 2)[1][..., ::-1][..., :rank]


def tail(matrix: np.ndarray, rank: int) -> np.ndarray:
    """sum_{i>r} s_i^2, the least squared distance to a matrix of rank r.

    Example:
      >>> float(tail(np.diag([3.0, 2.0, 1.0]), 1))
      5.0
    """
    return np.sum(np.linalg.svd(matrix, compute_uv=False)[..., rank:] ** 2, axis=-1)


def best(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The nearest matrix of rank r.

    Example:
      >>> best(np.diag([3.0, 2.0]), 1).tolist()
      [[3.0, 0.0], [0.0, 0.0]]
    """
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    return (u[..., :rank] * values[..., None, :rank]) @ v[..., :rank, :]


def root(metric: np.ndarray, power: float = 0.5) -> np.ndarray:
    """T^p of a symmetric T, of eigenvalues that are positive; p = -1/2 is the whitener.

    Example:
      >>> root(np.diag([4.0, 9.0])).tolist()
      [[2.0, 0.0], [0.0, 3.0]]
    """
    values, vectors = np.linalg.eigh((metric + metric.mT) / 2)
    return (vectors * values[..., None, :] ** power) @ vectors.mT


def whitened(weight: np.ndarray, metric: np.ndarray, rank: int) -> np.ndarray:
    """[W0 T^{1/2}]_r T^{-1/2}, as published for many T: equal to `project` for T > 0.

    Example:
      >>> whitened(np.diag([1.0, 2.0]), np.diag([9.0, 1.0]), 1).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    return best(weight @ root(metric), rank) @ root(metric, -0.5)


def regression(gram: np.ndarray, cross: np.ndarray, rank: int) -> np.ndarray:
    """U_r U_r^T Z S^-1 with U_r of Z S^-1 Z^T: the best W of rank r in ||Y - W X||, S > 0.

    Source: Izenman (1975), reduced-rank regression.

    Example:
      >>> regression(np.diag([4.0, 1.0]), np.diag([2.0, 3.0]), 1).tolist()
      [[0.0, 0.0], [0.0, 3.0]]
    """
    model = np.linalg.solve(gram, cross.mT).mT
    u = directions(model @ gram @ model.mT, rank)
    return u @ (u.mT @ model)


def regression_least(inputs: np.ndarray, targets: np.ndarray, rank: int) -> np.ndarray:
    """min over rank r of ||Y - W X||^2 = ||Y||^2 - sum_{i<=r} s_i(Y Q)^2, Q the row space of X.

    Example:
      >>> float(regression_least(np.array([[1.0, 0.0]]), np.array([[2.0, 3.0]]), 1))
      9.0
    """
    rows = np.linalg.svd(inputs, full_matrices=False)[2]
    inside = np.linalg.svd(targets @ rows.mT, compute_uv=False)
    return squared_norm(targets) - np.sum(inside[..., :rank] ** 2, axis=-1)


def oblique(weight, left, metric, rank: int) -> np.ndarray:
    """L^{-1/2} U_r U_r^T L^{1/2} W0: the best of rank r in ||L^{1/2} (W0 - W) T^{1/2}||, L > 0.

    Example:
      >>> oblique(np.diag([1.0, 2.0]), np.diag([9.0, 1.0]), np.eye(2), 1).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    half = root(left)
    return np.linalg.solve(half, project(half @ weight, metric, rank))


def pivot(matrix: np.ndarray, rank: int, pivoting: bool = True) -> np.ndarray:
    """A (m, d) matrix of rank r rebuilt from r of its columns and r (d - r) coefficients.

    Without pivoting the first r columns are taken, which need not be independent.

    Source: compare Zhao et al. (2025), PIFA.

    Example:
      >>> pivot(np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 6.0]]), 1).tolist()
      [[0.0, 1.0, 2.0], [0.0, 3.0, 6.0]]
    """
    # Imported here: the other formulas need no scipy.
    from scipy.linalg import qr

    order = qr(matrix, mode="r", pivoting=True)[1] if pivoting else np.arange(matrix.shape[1])
    columns, rest = matrix[:, order[:rank]], matrix[:, order[rank:]]
    rebuilt = np.empty_like(matrix)
    rebuilt[:, order[:rank]] = columns
    rebuilt[:, order[rank:]] = columns @ np.linalg.lstsq(columns, rest, rcond=None)[0]
    return rebuilt


def rounded(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The nearest points of the grid scale {-3, ..., 3}.

    Example:
      >>> rounded(np.array([0.6, 9.0]), np.array(0.5)).tolist()
      [0.5, 1.5]
    """
    return scale * np.clip(np.round(values / scale), -3, 3)


def stacked_core(lefts: Sequence[np.ndarray], rights: Sequence[np.ndarray], rank: int):
    """The best matrix of rank r of sum_i B_i A_i, from the core of stacked factors alone.

    B = Q_b R_b and A^T = Q_a R_a of the stacked factors: sum_i B_i A_i = Q_b (R_b R_a^T) Q_a^T.

    Example:
      >>> stacked_core([np.eye(2)], [np.diag([3.0, 1.0])], 1).round(6).tolist()
      [[3.0, 0.0], [0.0, 0.0]]
    """
    q_b, r_b = np.linalg.qr(np.concatenate(lefts, axis=-1))
    q_a, r_a = np.linalg.qr(np.concatenate(rights, axis=-2).mT)
    return q_b @ best(r_b @ r_a.mT, rank) @ q_a.mT


def weighted_cut(b: np.ndarray, a: np.ndarray, gram: np.ndarray, rank: int) -> np.ndarray:
    """The best matrix of rank r of B A in ||(B A - W) X||, from R (A S A^T) R^T, B = Q R.

    Example:
      >>> weighted_cut(np.eye(2), np.diag([1.0, 2.0]), np.diag([9.0, 1.0]), 1).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    q, r = np.linalg.qr(b)
    u = directions(r @ a @ gram @ a.mT @ r.mT, rank)
    return q @ u @ (u.mT @ r @ a)
