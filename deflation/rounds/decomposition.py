"""By what the answers of `exact` and `decompose` are computed."""

from __future__ import annotations

import enum


class Decomposition(enum.IntEnum):
    """What the answer of `exact` or `decompose` was computed by; `reason` says when it is chosen.

    SVD: the whole singular value decomposition in the dtype of the problem. GRAM: the leading
    eigenvectors of M^T M (or M M^T) in float64, of a small float32 M on a CPU. ARPACK: by products
    alone, of an operator. LANCZOS: PROPACK's bidiagonalisation. BLOCKS: a block Krylov space.
    ROUNDS: parallel workers from a sketch.
    """

    SVD = 0
    GRAM = 1
    ARPACK = 2
    LANCZOS = 3
    BLOCKS = 4
    ROUNDS = 5

    @property
    def reason(self) -> str:
        """When it is chosen, in one sentence."""
        return _REASONS[self]


_REASONS = {
    Decomposition.SVD: (
        "the whole singular value decomposition: nothing cheaper is exact for these values, or the "
        "rank is a large part of the side."
    ),
    Decomposition.GRAM: (
        "a small matrix, or a rank that is a large part of its side: eigenvectors of its Gram in "
        "float64 are exact in a third of the time of all singular triplets."
    ),
    Decomposition.ARPACK: "an operator: only its products are known.",
    Decomposition.LANCZOS: (
        "few components: single-vector Lanczos (PROPACK) has the fewest products."
    ),
    Decomposition.BLOCKS: (
        "many components: a block Krylov space multiplies at the rate of a product."
    ),
    Decomposition.ROUNDS: (
        "an operator, or an array on other devices: parallel workers take any target."
    ),
}
