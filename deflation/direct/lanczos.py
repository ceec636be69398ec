"""Leading components by PROPACK: Lanczos bidiagonalisation, one vector at a time, in SciPy."""

from __future__ import annotations

import functools

import numpy as np

from deflation.problem.components import Components, canonical, generic

# As `svds` takes them, which squares them; the last is rounding.
TOLERANCES = (1e-1, 1e-2, 1e-4, 0.0)


def leading(matrix: np.ndarray, rank: int, tolerance: float) -> Components:
    """The leading components (r, .) of M (m, d), canonical, r < min(m, d).

    Raises:
      numpy.linalg.LinAlgError: it breaks down, as it may on a matrix of lower rank.

    Source: Larsen (1998), Lanczos bidiagonalization with partial reorthogonalization.
    """
    from scipy.sparse.linalg import svds  # takes a quarter of a second

    start = generic((matrix.shape[0],), matrix.dtype, np)
    u, s, vt = svds(_products()(matrix), rank, tol=tolerance, solver="propack", v0=start)
    return canonical(Components((u * s).T[::-1], vt[::-1]), np)  # `svds` has them smallest first


@functools.cache
def _products() -> type:
    """A class of M by its products alone: what SciPy makes of an array copies it for M^T, and looks
    at a vector for as long as a product takes where M is in the cache."""
    from scipy.sparse.linalg import LinearOperator

    class Products(LinearOperator):
        def __init__(self, matrix: np.ndarray):
            super().__init__(matrix.dtype, matrix.shape)
            self.matrix = matrix

        def matvec(self, x):
            return self.matrix @ x

        def rmatvec(self, x):
            return self.matrix.T @ x

        _matvec, _rmatvec = matvec, rmatvec

    return Products
