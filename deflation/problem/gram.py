"""Leading singular triplets of a small float32 matrix by an eigendecomposition of its Gram.

Legend: M (m, d) with d <= m, else M^T; G = M^T M in float64, which holds the squares of float32
without loss. Of G only the leading eigenvectors v_k are asked for, and u_k s_k = M v_k: a third of
the time of all singular triplets, and more digits than these have in float32.
"""

from __future__ import annotations

import jax
import numpy as np

from deflation.problem.components import Components
from rankwise import checks

SIDE = 512  # the longest shorter side, where it took a third of the time; longer ones are untried
ENTRIES = 2**22  # at most: the copy in float64 takes 32 MiB
# Of s_k / s_1, the least that eigenvalues of a Gram in float64 tell from rounding, with a margin.
LEAST = 1e-5
FEW = 8  # a rank beyond an 8th of the side has all vectors in less time than those it asks for


def suits(target) -> bool:
    """Whether the decomposition is exact to rounding, and faster than the singular value
    decomposition."""
    return (
        isinstance(target, jax.Array)
        and checks.in_memory(target)
        and target.dtype == np.float32
        and min(target.shape) <= SIDE
        and target.size <= ENTRIES
    )


def leading(target, rank: int) -> tuple[Components, np.ndarray] | None:
    """The leading components (r, .), canonical, and the value after them, 0 where there is none.

    None where one of the first r is too small beside s_1 for a Gram to tell, or LAPACK fails.

    Source: Golub and Van Loan, Matrix Computations (2013), section 8.6.3.
    """
    import scipy.linalg  # a fifth of a second, that `import deflation` need not take

    # All of it by SciPy's BLAS: threads of numpy's, which is another one, spin for a while after a
    # product, on the cores that the next library should have.
    blas = scipy.linalg.blas
    wide = np.asarray(target, np.float64)
    tall = wide.shape[0] >= wide.shape[1]
    side = min(wide.shape)
    square = blas.dsyrk(1.0, wide.T, trans=not tall, lower=True)  # wide.T is by columns: no copy
    # LAPACK itself: what `scipy.linalg.eigh` does around it takes a tenth of the time at a side of
    # 64. By columns, and the lower triangle.
    lapack = scipy.linalg.lapack
    if FEW * rank > side:
        squares, vectors, failed = lapack.dsyevd(square, lower=1, overwrite_a=1)
    else:
        last = {"range": "I", "il": max(side - rank, 1), "iu": side}
        how = last | {"lower": 1, "lwork": 66 * side, "overwrite_a": 1}  # (64 + 2) n: in blocks
        squares, vectors, count, _, failed = lapack.dsyevr(square, **how)
        squares = squares[:count]
    if failed or len(squares) < rank:  # of a matrix that is not finite there is none
        return None
    values = np.append(np.sqrt(np.maximum(squares[::-1], 0)), 0)[: rank + 1]
    if not values[rank - 1] > LEAST * values[0]:
        return None
    right = np.asfortranarray(vectors[:, ::-1][:, :rank])
    b, a = blas.dgemm(1.0, wide.T, right, trans_a=tall).T, right.T
    if not tall:
        sizes = np.linalg.norm(b, axis=1, keepdims=True)
        b, a = sizes * a, b / sizes
    peak = b[np.arange(rank), np.argmax(np.abs(b), axis=1)]
    sign = np.where(peak < 0, -1, 1)[:, None]
    b, a, beyond = (x.astype(np.float32) for x in (sign * b, sign * a, values[rank]))
    return Components(b, a), beyond
