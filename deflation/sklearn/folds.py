"""Which samples are held out, and what each of them counts."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils.validation import _check_sample_weight

from deflation.problem.moments import Moments, all_joined
from rankwise import checks

Pair = tuple[Moments, Moments]


def number_of(cv) -> int | None:
    """Folds of a whole number; None of a splitter or of pairs of indices.

    Raises:
      ValueError: anything else, or fewer than two folds.
    """
    if isinstance(cv, Integral) or not (hasattr(cv, "split") or np.iterable(cv)):
        return checks.integer("cv", cv, 2, why=", splitters and lists of (train, test) indices")
    if isinstance(cv, str):
        raise ValueError(
            f"cv is {cv!r}; allowed are integers >= 2, splitters and lists of (train, test) indices"
        )
    return None


def weights(sample_weight, X) -> np.ndarray | None:
    """(n,) float64, none of them negative; None for none."""
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)


def moments(X, y: np.ndarray, weight: np.ndarray | None, rows: np.ndarray) -> Moments | None:
    """Those of the rows, given by number or mask, that have a weight; None without one."""
    if weight is not None:
        rows = np.arange(len(y))[rows]
        rows = rows[weight[rows] > 0]
    x, own = X[rows], y[rows]
    if not len(own):
        return None
    return Moments.of(x.T, own.T, None if weight is None else weight[rows])


def left_out(folds: list[Moments]) -> list[Pair]:
    """For each fold the moments of the others, and its own."""
    return [(all_joined(folds[:k] + folds[k + 1 :]), fold) for k, fold in enumerate(folds)]


def split(cv, X, y: np.ndarray, outputs: tuple[int, ...], weight, groups) -> Iterator[Pair]:
    """What a splitter of scikit-learn trains on and holds out, one pair after the other.

    Raises:
      ValueError: what the splitter refuses; rows of a split that have no weight.
    """
    targets = y.reshape(len(y), *outputs)
    for number, rows in enumerate(check_cv(cv).split(X, targets, groups)):
        pair = tuple(moments(X, y, weight, part) for part in rows)
        yield tuple(weighted(part, number) for part in pair)


def weighted(part: Moments | None, number: int) -> Moments:
    """The moments, which have to be there.

    Raises:
      ValueError: they are not.
    """
    if part is None:
        raise ValueError(
            f"sample_weight is 0 for all samples of a side of split {number} of cv; allowed is one "
            "above 0 on each side"
        )
    return part
