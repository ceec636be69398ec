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
    """The leading components (r, .), canonical, and all of s_1 .. s_{r+1} (0 where there is none).

    None where one of the first r is too small beside s_1 for a Gram to tell.

    Source: Golub and Van Loan, Matrix Computations (2013), section 8.6.3.
    """
    import scipy.linalg  # a fifth of a second, that `import deflation` need not take

    wide = np.asarray(target, np.float64)
    matrix = wide.T if wide.shape[0] < wide.shape[1] else wide
    side = matrix.shape[1]
    first = max(side - rank - 1, 0)
    squares, vectors = scipy.linalg.eigh(
        matrix.T @ matrix, subset_by_index=[first, side - 1], check_finite=False, overwrite_a=True
    )
    values = np.append(np.sqrt(np.maximum(squares[::-1], 0)), 0)[: rank + 1]
    if not values[rank - 1] > LEAST * values[0]:
        return None
    right = vectors.T[::-1][:rank]
    b, a = right @ matrix.T, right
    if matrix is not wide:
        sizes = np.linalg.norm(b, axis=1, keepdims=True)
        b, a = sizes * a, b / sizes
    peak = b[np.arange(rank), np.argmax(np.abs(b), axis=1)]
    sign = np.where(peak < 0, -1, 1)[:, None]
    return Components(*((sign * rows).astype(np.float32) for rows in (b, a))), values
