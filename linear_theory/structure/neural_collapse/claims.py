"""Claims: neural collapse as low rank by weight decay, where features are free.

Legend: C classes of n samples, Y (C, C n) one-hot; features H (d, C n) and a last layer W (C, d)
minimise 1/2 ||Y - W H||^2 + lam/2 (||W||^2 + ||H||^2), d >= C. The singular values of Y are
sqrt(n), all C of them, so that W H is the soft threshold (1 - lam/sqrt(n)) Y.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm

CLASSES, WIDTH, SAMPLES = 4, 6, 24
SWEEPS = 50  # deviations fall by at least 0.36 in each
EPS = np.finfo(np.float64).eps
SOURCE = "arXiv 2503.19859, section 5 names neural collapse"


class Features(NamedTuple):
    """labels (n, 24) in 0, ..., C - 1; decay (n,); first features (n, 6, 24)."""

    labels: np.ndarray
    decay: np.ndarray
    first: np.ndarray


def draw_balanced(key, trials: int) -> Features:
    """Equal classes, lam between .2 and .7 sqrt(n).

    Example:
      >>> import jax
      >>> draw_balanced(jax.random.key(0), 2).labels.shape
      (2, 24)
    """
    rng = generator(key)
    labels = np.tile(np.arange(CLASSES), (trials, SAMPLES // CLASSES))
    decay = rng.uniform(0.2, 0.7, trials) * (SAMPLES / CLASSES) ** 0.5
    return Features(labels, decay, rng.standard_normal((trials, WIDTH, SAMPLES)))


def draw_unequal(key, trials: int) -> Features:
    """The first class three times as large as the last.

    Example:
      >>> import jax
      >>> np.bincount(draw_unequal(jax.random.key(0), 1).labels[0]).tolist()
      [9, 6, 6, 3]
    """
    drawn = draw_balanced(key, trials)
    labels = np.repeat(np.arange(CLASSES), [9, 6, 6, 3])
    return drawn._replace(labels=np.tile(labels, (trials, 1)))


class Trained(NamedTuple):
    """last W (n, C, d), features H (n, d, C n), means of classes (n, d, C)."""

    last: np.ndarray
    features: np.ndarray
    means: np.ndarray


def _train(problem: Features) -> Trained:
    """Alternating ridge regression, which ends in the global minimum."""
    targets = np.eye(CLASSES)[problem.labels].mT
    ridge, features = problem.decay[:, None, None] * np.eye(WIDTH), problem.first
    for _ in range(SWEEPS):
        normal = features @ features.mT + ridge
        last = np.linalg.solve(normal, features @ targets.mT).mT
        features = np.linalg.solve(last.mT @ last + ridge, last.mT @ targets)
    means = features @ targets.mT / targets.sum(axis=2)[:, None]
    return Trained(last, features, means)


def _frame(problem: Features) -> Evidence:
    """Class means, centred, against the simplex of C directions."""
    means = _train(problem).means
    means = means - means.mean(axis=2, keepdims=True)
    gram = means.mT @ means
    simplex = np.eye(CLASSES) - 1 / CLASSES
    size = np.trace(gram, axis1=1, axis2=2)[:, None, None] / (CLASSES - 1)
    return Evidence(norm(gram / size - simplex), 200 * EPS)


def _within(problem: Features, several: bool = True) -> Evidence:
    """Spread of the features of a class, before the last layer and without training."""
    trained = _train(problem)
    features = trained.features if several else problem.first
    own = np.take_along_axis(trained.means, problem.labels[:, None], axis=2)
    return Evidence(norm(features - own) / norm(own), 200 * EPS)


def _dual(problem: Features, centred: bool = False) -> Evidence:
    """W against the class means, up to one scale."""
    trained = _train(problem)
    means = trained.means
    if centred:
        means = means - means.mean(axis=2, keepdims=True)
    rows = means.mT / norm(means)[:, None, None]
    return Evidence(norm(trained.last / norm(trained.last)[:, None, None] - rows), 200 * EPS)


CLAIMS = (
    Claim(
        name="neural_collapse.within",
        source=SOURCE,
        statement="Weight decay on free features and a last layer: all samples of a class have one "
        "feature, so that features have rank C.",
        formula="h_i = h_j for samples i, j of a class",
        kind="identity",
        status="new",
        instances=draw_balanced,
        measure=_within,
        control=Control("the start", functools.partial(_within, several=False)),
    ),
    Claim(
        name="neural_collapse.simplex",
        source=SOURCE,
        statement="Classes of one size: their means, centred, are a simplex, any two at the cosine "
        "-1/(C - 1).",
        formula="M^T M = c (I - 1 1^T/C), M the centred means (d, C)",
        kind="identity",
        status="new",
        instances=draw_balanced,
        measure=_frame,
        control=Control("classes of unequal size", _frame, draw_unequal),
    ),
    Claim(
        name="neural_collapse.dual",
        source=SOURCE,
        statement="The last layer is the class means up to a scale.",
        formula="W = c H_mean^T",
        kind="identity",
        status="new",
        instances=draw_balanced,
        measure=_dual,
        control=Control("the centred means", functools.partial(_dual, centred=True)),
    ),
)
