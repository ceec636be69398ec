"""Ranks of many kernels from one threshold on their normalised singular values.

Normalised are (s - min) / (max - min) of each kernel, from 1 down to 0.

Source: arXiv 2407.11239 (WeLore), section 3.2, and its released code.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Spectra = Mapping[str, np.ndarray]


def at(spectra: Spectra, threshold: float, drop_share: float) -> dict[str, int]:
    """path -> values that reach the threshold, of the kernels that lose more than `drop_share`.

    Args:
      spectra: path -> singular values, descending.
      threshold: in [0, 1].
      drop_share: in [0, 1).

    Raises:
      ValueError: there is no such kernel.

    Example:
      >>> at({"a": np.array([8.0, 1.0, 0.0]), "b": np.array([3.0, 2.0, 1.0])}, 0.5, 0.5)
      {'a': 1}
    """
    ranks = _at(_normalised(spectra), threshold, drop_share)
    if not ranks:
        raise ValueError(
            f"cut is {threshold}, at which no kernel loses more than {drop_share} of its "
            "singular values; allowed are larger ones, up to 1"
        )
    return ranks


def within(
    spectra: Spectra, shapes: Mapping[str, tuple[int, int]], keep: float, drop_share: float
) -> dict[str, int]:
    """`at` the least threshold that leaves `keep` of all parameters at most.

    A kernel (in, out) of rank k counts k (in + out), one that stays in out. For a drop_share below
    .5 factors may be larger than the kernel, and a smaller threshold may do as well.

    Raises:
      ValueError: less than is left when every kernel has rank 1.

    Example:
      >>> values = {"a": np.array([8.0, 1.0, 0.0]), "b": np.array([3.0, 2.0, 1.0])}
      >>> within(values, {"a": (3, 3), "b": (3, 3)}, 0.9, 0.5)
      {'a': 1}
    """
    spread = _normalised(spectra)
    whole = sum(a * b for a, b in shapes.values())

    def share(ranks: dict[str, int]) -> float:
        saved = sum(np.prod(shapes[p]) - k * sum(shapes[p]) for p, k in ranks.items())
        return 1 - saved / whole

    steps = np.unique(np.concatenate([*spread.values(), [1.0]]))
    least = share(_at(spread, 1.0, drop_share))
    if least > keep or least == 1:
        raise ValueError(f"keep is {keep}; allowed are numbers from {least:.3g} to below 1")
    low, high = -1, len(steps) - 1  # the first leaves too much, the second does not
    while high - low > 1:
        middle = (low + high) // 2
        ranks = _at(spread, steps[middle], drop_share)
        low, high = (low, middle) if ranks and share(ranks) <= keep else (middle, high)
    return _at(spread, steps[high], drop_share)


def _normalised(spectra: Spectra) -> dict[str, np.ndarray]:
    tiny = np.finfo(float).tiny  # all values equal: none is small
    return {
        path: np.where(s[0] > s[-1], (s - s[-1]) / max(s[0] - s[-1], tiny), 1.0)
        for path, s in spectra.items()
    }


def _at(spread: Spectra, threshold: float, drop_share: float) -> dict[str, int]:
    kept = {path: int(np.sum(values >= threshold)) for path, values in spread.items()}
    return {p: k for p, k in kept.items() if 1 - k / len(spread[p]) > drop_share}
