"""How a map of low rank is stored: multiplied out, in factors, or by rows that span the others.

Legend: V (in, out) of rank r.
  dense    V, in out numbers: saves nothing, and loads everywhere.
  factors  V = a b, r (in + out) numbers: fewer where r < in out / (in + out).
  pivot    r rows of V and the coefficients of the others: r (in + out - r) numbers, always fewer.

Source of pivot: Zhao et al. (2025), PIFA, arXiv 2501.19090, there by outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finetune.adapters.method import Factors

FORMS = ("dense", "factors", "pivot")


def cost(form: str, size_in: int, size_out: int, rank: int) -> int:
    """Numbers that a map of that rank takes; one multiplied out counts as factors do.

    Example:
      >>> cost("factors", 6, 4, 2), cost("pivot", 6, 4, 2)
      (20, 16)
    """
    return rank * (size_in + size_out - (rank if form == "pivot" else 0))


def largest_rank(form: str, size_in: int, size_out: int, ratio: float) -> int:
    """The largest rank that takes at most ratio in out numbers.

    Example:
      >>> largest_rank("factors", 100, 100, 0.8), largest_rank("pivot", 100, 100, 0.8)
      (40, 55)
    """
    ranks = np.arange(min(size_in, size_out) + 1)
    within = cost(form, size_in, size_out, ranks) <= ratio * size_in * size_out
    return int(np.flatnonzero(within)[-1])


class Pivot(NamedTuple):
    """V[order[:r]] = rows, V[order[r:]] = rest rows; y = (x[order[:r]] + x[order[r:]] rest) rows.

    Attributes:
      rows: (r, out).
      rest: (in - r, r), entries of modest size: the rows are chosen by pivoting.
      order: (in,) int32, a permutation.
    """

    rows: np.ndarray
    rest: np.ndarray
    order: np.ndarray

    def dense(self) -> np.ndarray:
        """V (in, out)."""
        full = np.empty((len(self.order), self.rows.shape[1]), self.rows.dtype)
        full[self.order] = np.concatenate([self.rows, self.rest @ self.rows])
        return full


def pivot(factors: Factors) -> Pivot:
    """The pivot form of a b; b of full row rank.

    Example:
      >>> form = pivot(Factors(np.array([[1.0], [4.0], [2.0]]), np.array([[1.0, 3.0]])))
      >>> form.rows.tolist(), form.rest.tolist(), form.order.tolist()
      ([[4.0, 12.0]], [[0.25], [0.5]], [1, 0, 2])
    """
    # Imported here: nothing else needs it.
    from scipy.linalg import qr, solve_triangular

    a, b = factors
    rank = a.shape[1]
    upper, order = qr(a.T, mode="r", pivoting=True)
    # Where a has less than r independent rows, the rows beyond take no part.
    live = max(int((abs(np.diag(upper)) > 1e-12 * abs(upper[:1, :1]).sum()).sum()), 1)
    rest = np.zeros((len(a) - rank, rank))
    rest[:, :live] = solve_triangular(upper[:live, :live], upper[:live, rank:]).T
    return Pivot(a[order[:rank]] @ b, rest, order.astype(np.int32))
