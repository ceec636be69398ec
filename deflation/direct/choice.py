"""Which method takes the leading components of an array in memory, by its size and the rank.

No one method wins everywhere: single-vector Lanczos has the fewest products and multiplies at the
rate of memory, blocks multiply at the rate of a product and need more of them, and what is as small
as its rank is best taken whole. Measured with two threads and with one on an Intel Xeon at 2.8 GHz,
rank 4 to 64 of 64 x 64 to 1024 x 1024, four spectra (`launch.benchmark --suite=decompose`).
"""

from __future__ import annotations

from deflation.rounds.decomposition import Decomposition

WHOLE = 64  # a side up to which all of it takes as long as a part
SHARE = 4  # a rank beyond a 4th of the side: the basis of the others would be most of the whole
# The largest rank to which single vectors are ahead: of a matrix that fits in a core's cache, where
# one costs little, and of larger ones. Their answer is accurate from the start, so that they go
# further where single components are asked for than where their sum is.
SINGLE = {"components": 32, "sum": 16}
CACHED = 2**19  # entries of 4 bytes
BEYOND = 8


def choose(shape: tuple[int, int], rank: int, error: str) -> Decomposition:
    """GRAM (where it is not exact, SVD), LANCZOS or BLOCKS.

    Args:
      shape: of M (m, d).
      rank: number of components.
      error: of what a bound is wanted, "components" or "sum".

    Example:
      >>> [choose((512, 512), rank, "components").name for rank in (8, 64, 256)]
      ['LANCZOS', 'BLOCKS', 'GRAM']
    """
    m, d = shape
    if min(m, d) <= WHOLE or SHARE * rank > min(m, d):
        return Decomposition.GRAM
    single = SINGLE[error] if m * d <= CACHED else BEYOND
    return Decomposition.LANCZOS if rank <= single else Decomposition.BLOCKS
