"""The output directions that a map should keep: one basis, whose prefixes answer for every rank.

Legend: W (in, out) a kernel, y = x W; T (in, in) the metric in which its error counts, by default
S = X^T X / n of its inputs X; U (out, k) orthonormal, the leading eigenvectors of W^T T W.

    min over rank r of tr (W - V)^T T (W - V)  is attained at  V = W U_r U_r^T

for any T >= 0, singular or not: neither an inverse nor a root of T is needed for the answer, and V
is a projection of W whatever the rounding. The published one-shot formulas differ in T alone.

Source: Eckart and Young (1936) for T^(1/2) W; Wang et al. (2024), SVD-LLM, and Zhang et al. (2024),
QERA, whose whitened forms are equal to this for T = S; Yang et al. (2024), CorDA, which is T = S^2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finetune.adapters.method import Factors
from rankwise import checks


class Directions(NamedTuple):
    """All ranks at once: the map of rank r is (kernel U_r) U_r^T.

    Attributes:
      kernel: (in, out), W, or what takes its place.
      basis: U (out, k), k = min(in, out).
    """

    kernel: np.ndarray
    basis: np.ndarray

    def factors(self, rank: int) -> Factors:
        """a (in, r), b (r, out) of orthonormal rows; every prefix is the best of its rank."""
        basis = self.basis[:, :rank]
        return Factors(self.kernel @ basis, basis.T)

    def errors(self, gram: np.ndarray) -> np.ndarray:
        """tr (K - V_r)^T S (K - V_r) of rank r = 0, ..., k, on inputs with this Gram matrix S."""
        gram, along = gram.astype(np.float64), self.kernel @ self.basis
        captured = np.sum(along * (gram @ along), axis=0)
        beyond = 0.0
        if self.basis.shape[1] < len(self.basis):
            energy = np.sum(self.kernel * (gram @ self.kernel))
            beyond = max(energy - captured.sum(), 0.0)
        # From the smallest on: a difference from the whole would lose their digits.
        return np.append(np.cumsum(captured[::-1])[::-1], 0.0) + beyond


def metric(gram: np.ndarray, *, power: float = 1.0, shrink: float = 0.0) -> np.ndarray:
    """T = (S + l I)^p / scale, l = shrink tr(S) / in, in float64; S is scaled to trace 1.

    Args:
      gram: S (in, in).
      power: p >= 0: 1 has the least output error, 2 keeps strong directions more, 0 is the plain
        singular value decomposition.
      shrink: >= 0, for few tokens: their S knows little of most directions.

    Raises:
      ValueError: a Gram matrix that is not square, not symmetric, negative, all zeros or not
        finite; a negative power or shrink.

    Example:
      >>> metric(np.diag([3.0, 1.0]), power=2).tolist()
      [[0.5625, 0.0], [0.0, 0.0625]]
    """
    checks.positive("power", power, zero=True)
    checks.positive("shrink", shrink, zero=True)
    gram = checks.array("gram", gram).astype(np.float64)
    size = len(gram)
    if gram.shape != (size, size):
        raise ValueError(f"gram has shape {gram.shape}; allowed is a square matrix, X^T X")
    trace = np.trace(gram)
    if trace <= 0:
        raise ValueError(f"gram has the trace {trace:g}; allowed is X^T X of inputs that are not 0")
    if (gap := abs(gram - gram.T).max()) > 1e-4 * abs(gram).max():
        raise ValueError(f"gram differs from its transpose by {gap:.2g}; allowed is X^T X")
    scaled = (gram + gram.T) / (2 * trace) + shrink / size * np.eye(size)
    if power in (1.0, 2.0):
        return scaled if power == 1 else scaled @ scaled
    values, vectors = np.linalg.eigh(scaled)
    return (vectors * np.maximum(values, 0) ** power) @ vectors.T


def leading(kernel: np.ndarray, metric: np.ndarray) -> Directions:
    """U of W^T T W, by an eigendecomposition of the smaller side of W.

    Args:
      kernel: W (in, out).
      metric: T (in, in), symmetric and positive semi-definite.

    Example:
      >>> best = leading(np.diag([1.0, 2.0]), np.diag([9.0, 1.0]))
      >>> a, b = best.factors(1)
      >>> (a @ b).round(6).tolist(), best.errors(np.diag([9.0, 1.0])).round(6).tolist()
      ([[1.0, 0.0], [0.0, 0.0]], [13.0, 4.0, 0.0])
    """
    kernel = np.asarray(kernel, np.float64)
    size_in, size_out = kernel.shape
    if size_out <= size_in:
        return Directions(kernel, np.linalg.eigh(kernel.T @ metric @ kernel)[1][:, ::-1])
    values, vectors = np.linalg.eigh(metric)
    root = np.sqrt(np.maximum(values, 0))[:, None] * (vectors.T @ kernel)  # T^(1/2) W, rotated
    inner = np.linalg.eigh(root @ root.T)[1][:, ::-1]
    # The columns are orthogonal already, but for rounding in those that are nearly zero.
    return Directions(kernel, np.linalg.qr(root.T @ inner)[0])


def anchored(
    kernel: np.ndarray, gram: np.ndarray, cross: np.ndarray, *, shrink: float = 0.0
) -> Directions:
    """min ||X_0 W - X V||^2 + l ||W - V||^2: outputs of the network as it was, from its inputs now.

    Without the limit on the rank V = (S + l I)^-1 (C + l I) W =: K, and the best of rank r is
    K U_r U_r^T with U of K^T (S + l I) K.

    Args:
      kernel: W (in, out).
      gram: S = X^T X / n.
      cross: C = X^T X_0 / n.
      shrink: l in units of tr(S) / in; with 0 eigenvalues of S below rounding are left out.

    Source: with l = 0 the least-squares problem of moments, Izenman (1975).

    Example:
      >>> best = anchored(np.eye(2), np.diag([4.0, 1.0]), np.diag([2.0, 1.0]))
      >>> best.kernel.round(6).tolist()
      [[0.5, 0.0], [0.0, 1.0]]
    """
    kernel = np.asarray(kernel, np.float64)
    trace, size = float(np.trace(gram)), len(gram)
    shrunk = metric(gram, shrink=shrink)
    target = (cross.astype(np.float64) / trace + shrink / size * np.eye(size)) @ kernel
    values, vectors = np.linalg.eigh(shrunk)
    live = values > size * np.finfo(np.float32).eps * values[-1] if not shrink else values > 0
    best = (vectors[:, live] / values[live]) @ (vectors[:, live].T @ target)
    return leading(best, shrunk)


def relative(change: np.ndarray, kernel: np.ndarray, gram: np.ndarray | None = None) -> float:
    """||X D||^2 / ||X W||^2 on inputs with this Gram matrix; ||D||^2 / ||W||^2 without one.

    0 where X W is 0. Products are in the dtype of the Gram matrix: both sums are of squares,
    nothing cancels.

    Example:
      >>> relative(np.diag([0.0, 1.0]), np.eye(2), np.diag([9.0, 1.0]))
      0.1
    """
    if gram is not None:
        change = change.astype(gram.dtype)
    error, energy = (
        np.sum((side if gram is None else gram @ side) * side, dtype=np.float64)
        for side in (change, np.asarray(kernel))
    )
    return float(max(error, 0.0) / energy) if energy > 0 else 0.0
