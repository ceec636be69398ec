"""Claims: how the rank of a self-attention map is that of its logits, where these are small.

Legend: n tokens, keys and queries of size k < n, logits Z = s Q K^T (n, n) of rank k and size s,
attention map P = softmax over each row.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.special import softmax

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import generator, norm

TOKENS, SIZE = 10, 3
SIZES = 1e-4, 1e-3
# The power is bent by a share of the larger size, times logits of about sqrt(k) and their squares.
TOLERANCE = 0.01
SOURCE = "arXiv 2503.19859, section 5: self-attention maps of low rank"


def draw_logits(key, trials: int) -> np.ndarray:
    """Q K^T (n, 10, 10) of rank 3, Gaussian.

    Example:
      >>> import jax
      >>> draw_logits(jax.random.key(0), 2).shape
      (2, 10, 10)
    """
    rng = generator(key)
    queries, keys = rng.standard_normal((2, trials, TOKENS, SIZE))
    return queries @ keys.mT


def _power(logits: np.ndarray, rank: int = SIZE + 1, power: float = 2.0) -> Evidence:
    """Of the size in what the best map of a rank leaves of P."""
    tails = []
    for size in SIZES:
        values = np.linalg.svd(softmax(size * logits, axis=-1), compute_uv=False)
        tails.append(np.linalg.norm(values[:, rank:], axis=1))
    return Evidence(measured_power(tails, SIZES), power, True, TOLERANCE)


def _bounded(logits: np.ndarray, centred: bool = True) -> Evidence:
    """Sizes from .01 to 3; the first-order map is of rank k + 1."""
    size = 0.01 * 300 ** np.linspace(0, 1, len(logits))[:, None, None]
    scaled = size * logits
    if centred:  # what all entries of a row share changes nothing
        scaled = scaled - scaled.mean(axis=2, keepdims=True)
    first = (1 + scaled) / TOKENS
    largest = np.abs(scaled).max(axis=2, keepdims=True)
    # |e^z - 1 - z| <= z^2 e^c/2 for |z| <= c; the mean of e^z is within mean z^2 e^c/2 above one.
    mean = np.mean(scaled**2, axis=2, keepdims=True)
    rest = (scaled**2 + np.exp(scaled) * mean) * np.exp(largest) / (2 * TOKENS)
    return Evidence(norm(softmax(size * logits, axis=-1) - first), norm(rest))


CLAIMS = (
    Claim(
        name="attention.rank",
        source=SOURCE,
        statement="An attention map is of rank k + 1, one more than its keys have entries, up to "
        "the square of the logits.",
        formula="(sum_{i>k+1} s_i(P)^2)^{1/2} ~ s^2",
        kind="fit",
        status="with a condition",
        instances=draw_logits,
        measure=_power,
        control=Control("rank k, that of the logits", functools.partial(_power, rank=SIZE)),
    ),
    Claim(
        name="attention.first_order",
        source=SOURCE,
        statement="The map of rank k + 1 that an attention map is near to, for logits of any size, "
        "centred in each row.",
        formula="|P_ij - (1 + z_ij)/n| <= (z_ij^2 + e^{z_ij} mean_j z_ij^2) e^c/(2 n), "
        "c = max_j |z_ij|",
        kind="upper",
        status="new",
        instances=draw_logits,
        measure=_bounded,
        control=Control("logits that are not centred", functools.partial(_bounded, centred=False)),
    ),
)
