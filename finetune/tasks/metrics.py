"""The scores that GLUE reports, in float64 numpy, as fractions (not per cent).

p and t are predictions and labels of the same shape (n,). Degenerate cases give 0 and no warning:
a constant prediction carries no information, so its correlations and F1 without a positive are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rankwise import checks

LOWER = ("loss", "perplexity")
"""Metrics of which less is better."""


def gain(metric: str, value: float) -> float:
    """The value of a metric on a scale where more is better.

    Example:
      >>> gain("loss", 2.0) > gain("loss", 3.0), gain("accuracy", 0.5)
      (True, 0.5)
    """
    return -value if metric in LOWER else value


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of p_i = t_i.

    Example:
      >>> accuracy(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]))
      0.75
    """
    return float(np.mean(predictions == labels))


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN) of class 1; 0 if there is no positive anywhere.

    Example:
      >>> f1(np.array([0, 1, 1]), np.array([0, 1, 0])) == 2 / 3
      True
    """
    hits = np.sum((predictions == 1) & (labels == 1))
    positives = np.sum(predictions == 1) + np.sum(labels == 1)
    return float(2 * hits / positives) if positives else 0.0


def matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Correlation of the one-hot predictions and labels,
    (c n - sum_k p_k t_k) / sqrt((n^2 - sum_k p_k^2) (n^2 - sum_k t_k^2)), with c correct of n and
    p_k, t_k the counts of class k; 0 if either side is constant.

    Source: Gorodkin, Comput. Biol. Chem. 28 (2004) 367, which for two classes is Matthews (1975).

    Example:
      >>> matthews(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]))
      0.0
    """
    classes = int(max(predictions.max(), labels.max())) + 1
    predicted = np.bincount(predictions, minlength=classes).astype(np.float64)
    true = np.bincount(labels, minlength=classes).astype(np.float64)
    size = float(len(labels))
    shared = float(np.sum(predictions == labels)) * size - predicted @ true
    # Two roots: n^4 under one root leaves float64's exact integers at n = 10^4.
    scale = np.sqrt(size**2 - predicted @ predicted) * np.sqrt(size**2 - true @ true)
    return float(np.clip(shared / scale, -1, 1)) if scale > 0 else 0.0


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """<p - mean p, t - mean t> / (|p - mean p| |t - mean t|); 0 if either side is constant.

    Example:
      >>> round(pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])), 12)
      1.0
    """
    p, t = _direction(predictions), _direction(labels)
    return 0.0 if p is None or t is None else float(np.clip(p @ t, -1, 1))


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Pearson correlation of the ranks, ties sharing their mean rank; 0 if either is constant.

    Example:
      >>> round(spearman(np.array([1.0, 10.0, 100.0]), np.array([1.0, 2.0, 3.0])), 12)
      1.0
    """
    return pearson(_ranks(predictions), _ranks(labels))


def accuracy_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean of accuracy and F1, GLUE's number for MRPC and QQP."""
    return (accuracy(predictions, labels) + f1(predictions, labels)) / 2


def pearson_spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean of Pearson and Spearman, GLUE's number for STS-B."""
    return (pearson(predictions, labels) + spearman(predictions, labels)) / 2


CLASSIFICATION: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "accuracy_f1": accuracy_f1,
    "matthews": matthews,
}
REGRESSION: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "pearson_spearman": pearson_spearman,
    "pearson": pearson,
    "spearman": spearman,
}


def score(
    names: Sequence[str],
    predictions: np.ndarray,
    labels: np.ndarray,
    classes: int | None,
    positive: int = 1,
) -> dict[str, float]:
    """Metric name -> value, in the order of `names`, so that the first is the main one.

    Args:
      classes: number of classes; None for regression.
      positive: the class that F1 counts.

    Raises:
      ValueError: an unknown metric, shapes that differ, nothing to score, class numbers outside
        0..classes-1 or not integers, regression values that are not finite.
    """
    known = CLASSIFICATION if classes else REGRESSION
    for name in names:
        checks.choice("metric", name, tuple(known))
    predictions = _column("predictions", predictions, classes)
    labels = _column("labels", labels, classes)
    if predictions.shape != labels.shape:
        raise ValueError(
            f"predictions has {len(predictions)} entries; allowed are {len(labels)}, one per label"
        )
    if classes and positive != 1:
        # F1 counts class 1; to the other scores one numbering is as good as another.
        swap = np.arange(classes)
        swap[[1, positive]] = swap[[positive, 1]]
        predictions, labels = swap[predictions], swap[labels]
    return {name: known[name](predictions, labels) for name in names}


def _column(name: str, values, classes: int | None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} has shape {values.shape}; allowed is (n,) with n >= 1")
    if not classes:
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity; allowed are finite numbers")
        return values
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {values.dtype}; allowed are integer class numbers")
    if values.min() < 0 or values.max() >= classes:
        raise ValueError(
            f"{name} has values from {values.min()} to {values.max()}; "
            f"allowed are 0 to {classes - 1}"
        )
    return values.astype(np.int64)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _direction(values: np.ndarray) -> np.ndarray | None:
    """(v - mean v) / |v - mean v|, or None where v is constant up to rounding."""
    values = np.asarray(values, np.float64)
    top = np.abs(values).max()
    if top == 0:
        return None
    # Divided first: squares of very large or very small values leave the range of float64.
    values = values / top
    centred = values - values.mean()
    norm = np.linalg.norm(centred)
    return centred / norm if norm > 1e-13 * np.sqrt(len(values)) else None
