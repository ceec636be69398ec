"""Claims: features of lower effective rank and the probes on them, and what masks need of a layer.

Legend: S with eigenvalues s_1 >= ... >= s_d and equal variances c = S_jj; features W_mu X of the
masked reconstruction of `masking.masked_reconstruction`, whose kernel X^T W^T W X has eigenvalues
k_i = s_i (s_i/(s_i + c (1-mu)/mu))^2 along directions v_i of samples. A ridge probe fits labels y
and noise of variance sigma^2 with that kernel; its risk, in the mean over the noise and at the best
ridge, is min_t sum_i (y_i/(1 + k_i t))^2 + sigma^2 sum_i (k_i t/(1 + k_i t))^2.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator

SIZE, NOISE = 6, 0.1
RIDGES = np.geomspace(1e-3, 1e5, 200)[:, None, None]  # t, in units of 1/k_1
SYMBOLS, ROWS, WIDE = 8, 64, 9
EPS = np.finfo(np.float64).eps
SOURCE = "arXiv 2503.19859, section on masked training"


class Probed(NamedTuple):
    """values s (n, 6), falling; keep: two shares of inputs, the lower first (n, 2)."""

    values: np.ndarray
    keep: np.ndarray


def draw_probed(key, trials: int) -> Probed:
    """Eigenvalues from .01 to 1, shares from .1 to .9.

    Example:
      >>> import jax
      >>> draw_probed(jax.random.key(0), 2).values.shape
      (2, 6)
    """
    rng = generator(key)
    values = np.sort(rng.uniform(0.01, 1, (trials, SIZE)), axis=1)[:, ::-1]
    return Probed(values, np.sort(rng.uniform(0.1, 0.9, (trials, 2)), axis=1))


def _risk(values: np.ndarray, keep: np.ndarray, along: int) -> np.ndarray:
    """Of the best ridge probe on labels along v_{along + 1}, (n,)."""
    ridge = values.mean(axis=1, keepdims=True) * (1 / keep - 1)[:, None]
    kernel = values * (values / (values + ridge)) ** 2
    strength = kernel / kernel[:, :1] * RIDGES
    bias = 1 / (1 + strength[..., along]) ** 2
    return (bias + NOISE * np.sum((strength / (1 + strength)) ** 2, axis=2)).min(axis=0)


def _probe(drawn: Probed, along: int = 0) -> Evidence:
    lower, higher = (_risk(drawn.values, keep, along) for keep in drawn.keep.T)
    return Evidence(lower, higher)


class Embedded(NamedTuple):
    """features of the symbols (n, 9, 9), the last of them the mask; tokens (n, 64)."""

    features: np.ndarray
    tokens: np.ndarray


def draw_embedded(key, trials: int) -> Embedded:
    """Gaussian features, as many as there are symbols; every symbol is in use.

    Example:
      >>> import jax
      >>> draw_embedded(jax.random.key(0), 2).features.shape
      (2, 9, 9)
    """
    rng = generator(key)
    tokens = rng.permuted(np.tile(np.arange(ROWS) % SYMBOLS, (trials, 1)), axis=1)
    return Embedded(rng.standard_normal((trials, SYMBOLS + 1, WIDE)), tokens)


def _deficient(drawn: Embedded, masked: bool = False) -> Evidence:
    """The last singular value of the features of all tokens, over the first."""
    tokens = np.where((np.arange(ROWS) % 4 == 0) & masked, SYMBOLS, drawn.tokens)
    features = np.take_along_axis(drawn.features, tokens[:, :, None], axis=1)
    values = np.linalg.svd(features, compute_uv=False)
    return Evidence(values[:, -1] / values[:, 0], 20 * EPS)


CLAIMS = (
    Claim(
        name="masking.probe",
        source=f"{SOURCE}; arXiv 2404.10947, of masked autoencoders",
        statement="Labels along the leading direction: the fewer inputs are kept, the lower is the "
        "effective rank of the features and the risk of the best ridge probe on them, since all "
        "k_i/k_1 fall. Labels along the last direction have it the other way round.",
        formula="risk(W_mu X) <= risk(W_nu X), mu <= nu, y along v_1",
        kind="upper",
        status="with a condition",
        instances=draw_probed,
        measure=_probe,
        control=Control("labels along v_d", functools.partial(_probe, along=SIZE - 1)),
    ),
    Claim(
        name="masking.unmasked_deficient",
        source=f"{SOURCE}; arXiv 2302.02060",
        statement="The mask has a direction of its own in a first layer of as many features as "
        "symbols, which inputs without masks leave unused: their features are rank-deficient.",
        formula="rank H(inputs) <= d - 1, d symbols with the mask",
        kind="identity",
        status="with a condition",
        instances=draw_embedded,
        measure=_deficient,
        control=Control("masked inputs", functools.partial(_deficient, masked=True)),
    ),
)
