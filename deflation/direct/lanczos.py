"""Leading components by PROPACK: Lanczos bidiagonalisation, one vector at a time, in SciPy."""

from __future__ import annotations

import numpy as np

from deflation.problem.components import Components, canonical, generic

# As `svds` takes them, which squares them; the last is rounding.
TOLERANCES = (1e-1, 1e-2, 1e-4, 0.0)


def leading(matrix: np.ndarray, rank: int, tolerance: float) -> Components | None:
    """The leading components (r, .) of M (m, d), canonical, r < min(m, d); None where it breaks
    down, as it may on a matrix of lower rank.

    Source: Larsen (1998), Lanczos bidiagonalization with partial reorthogonalization.
    """
    from scipy.sparse.linalg import svds  # takes a quarter of a second

    start = generic((matrix.shape[0],), matrix.dtype, np)
    try:
        u, s, vt = svds(matrix, rank, tol=tolerance, solver="propack", v0=start)
    except np.linalg.LinAlgError:
        return None
    order = np.argsort(-s)
    factors = Components((u[:, order] * s[order]).T, vt[order])
    if not all(np.all(np.isfinite(rows)) for rows in factors):
        return None
    return canonical(factors, np)
