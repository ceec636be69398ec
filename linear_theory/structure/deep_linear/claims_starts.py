"""Claims: how nearly orthogonal a Gaussian start is.

Legend: W (d, k) has independent entries of mean zero and variance 1/d.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator
from linear_theory.structure.deep_linear.instances import SOURCE

LEAST, LARGEST = 80, 240
NARROW = 8
# The law of Tracy and Widom for real entries: mean and standard deviation of the largest eigenvalue
# off its limit in units of `_unit`. Six deviations are left to its left tail and to finite widths.
MEAN, DEVIATION, WIDEST = -1.2065, 1.2680, 6


def draw_square(key, trials: int) -> list[np.ndarray]:
    """Square matrices of widths between 80 and 240."""
    rng = generator(key)
    widths = rng.integers(LEAST, LARGEST + 1, trials)
    return [rng.standard_normal((d, d)) / np.sqrt(d) for d in widths]


def draw_tall(key, trials: int) -> list[np.ndarray]:
    """Matrices of a width between 80 and 240 and an eighth as many columns."""
    rng = generator(key)
    widths = rng.integers(LEAST, LARGEST + 1, trials)
    return [rng.standard_normal((d, d // NARROW)) / np.sqrt(d) for d in widths]


def _distance(starts: list[np.ndarray], share: float | None = None) -> Evidence:
    """||W^T W - I||_2, beside (1 + sqrt(k/d))^2 - 1 and where that law is centred."""
    measured = [np.linalg.norm(w.T @ w - np.eye(w.shape[1]), 2) for w in starts]
    widths = np.array([w.shape[0] for w in starts])
    shares = np.array([w.shape[1] / w.shape[0] for w in starts]) if share is None else share
    unit = _unit(widths, shares)
    predicted = (1 + np.sqrt(shares)) ** 2 - 1 + MEAN * unit
    return Evidence(np.array(measured), predicted, True, WIDEST * DEVIATION * unit)


def _unit(width: np.ndarray, share: np.ndarray) -> np.ndarray:
    """d^{-2/3} (1 + sqrt c) (1 + 1 / sqrt c)^{1/3}, c = k/d; Johnstone, Ann. Statist. 29 (2001)."""
    root = np.sqrt(share)
    return width ** (-2 / 3) * (1 + root) * (1 + 1 / root) ** (1 / 3)


CLAIMS = (
    Claim(
        name="deep_linear.gaussian_start",
        source=f"{SOURCE}: Gaussian layers of large width are approximately orthogonal",
        statement="A square Gaussian layer is not approximately orthogonal at any width: squares "
        "of its singular values fill the interval from 0 to 4.",
        formula="||W^T W - I||_2 -> 3 as d grows, W (d, d)",
        kind="fit",
        status="refuted",
        instances=draw_square,
        measure=_distance,
        control=Control(
            "what few columns have, 2 sqrt(k/d) + k/d with k = d/8",
            functools.partial(_distance, share=1 / NARROW),
        ),
    ),
    Claim(
        name="deep_linear.narrow_gaussian_start",
        source="Marchenko and Pastur; Bai and Yin",
        statement="A tall Gaussian layer is approximately orthogonal, where its columns are few "
        "beside its width.",
        formula="||W^T W - I||_2 = 2 sqrt(k/d) + k/d up to O(d^{-2/3}), W (d, k)",
        kind="fit",
        status="corrected",
        instances=draw_tall,
        measure=_distance,
        control=Control("of a square layer", functools.partial(_distance, share=1.0)),
    ),
)
