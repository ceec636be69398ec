"""Adapters of smaller rank, with the error of every module and of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from finetune.adapters.method import Factors
from finetune.algebra.spectra import Spectrum, distance
from finetune.peft.standalone import rounded

HALVES = ("float16", "bfloat16")


class Cut(NamedTuple):
    """A module after the cut.

    Attributes:
      factors: a (in, r), b (r, out), balanced: each prefix is the best of its rank.
      error: ||a_0 b_0 - a b||_F against the factors before, the rounding of half precision
        included.
      norm: ||a_0 b_0||_F.
    """

    factors: Factors
    error: float
    norm: float

    @property
    def rank(self) -> int:
        """The rank of the factors."""
        return self.factors.a.shape[1]

    @property
    def relative(self) -> float:
        """error / norm, 0 of a change of zeros."""
        return self.error / self.norm if self.norm else 0.0


def cut(
    spectra: Mapping[str, Spectrum], ranks: Mapping[str, int], dtype: str = "float32"
) -> dict[str, Cut]:
    """The best factors of these ranks, and how far they are from what they were cut from.

    Example:
      >>> from finetune.algebra.spectra import spectrum
      >>> smaller = cut({"fc": spectrum(Factors(np.eye(2), np.diag([4.0, 3.0])))}, {"fc": 1})["fc"]
      >>> smaller.error, smaller.norm, smaller.relative
      (3.0, 5.0, 0.6)
    """
    cuts = {}
    for path, spectrum in spectra.items():
        factors = rounded(spectrum.prefix(ranks[path]), dtype)
        if dtype in HALVES:
            error = distance(spectrum.prefix(len(spectrum.values)), factors)
        else:
            error = spectrum.error(ranks[path])
        cuts[path] = Cut(factors, error, spectrum.norm)
    return cuts


def total(cuts: Mapping[str, Cut]) -> float:
    """(sum_j error_j^2)^(1/2) / (sum_j norm_j^2)^(1/2), 0 of changes of zeros."""
    norm = np.linalg.norm([one.norm for one in cuts.values()])
    return float(np.linalg.norm([one.error for one in cuts.values()]) / norm) if norm else 0.0
