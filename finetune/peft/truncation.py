"""Dense changes as factors: the least rank that a tolerance allows, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from finetune.adapters.method import Dense, Factors


class Truncated(NamedTuple):
    """Changes as factors.

    Attributes:
      changes: module path -> Factors.
      errors: of those that were dense, ||delta - a b||_F / ||delta||_F, 0 for a change of zeros.
    """

    changes: dict[str, Factors]
    errors: dict[str, float]

    @property
    def summary(self) -> str:
        """How many, their ranks and the largest error, in one line."""
        if not self.errors:
            return "0 modules: all have factors"
        ranks = [self.changes[path].a.shape[1] for path in self.errors]
        worst = max(self.errors, key=self.errors.get)
        size, ends = len(ranks), f"{min(ranks)} to {max(ranks)}"
        error = self.errors[worst]
        return f"{size} modules, ranks {ends}, largest relative error {error:.3g} ({worst})"


def truncated(changes: Mapping[str, Factors | Dense], tolerance: float) -> Truncated:
    """min r such that ||delta - a b||_F <= tolerance ||delta||_F, for every dense change.

    a = U sqrt(S) (in, r) and b = sqrt(S) V^T (r, out) of the leading singular triples, computed in
    float64 and stored in the dtype of delta; factors stay as they are.

    Args:
      changes: module path -> change.
      tolerance: in [0, 1); 0 keeps all that rounding lets through.

    Raises:
      ValueError: another tolerance.

    Example:
      >>> cut = truncated({"fc": Dense(np.diag([4.0, 3.0, 0.1]))}, 0.1)
      >>> cut.changes["fc"].a.shape, round(cut.errors["fc"], 3)
      ((3, 2), 0.02)
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"truncate is {tolerance}; allowed are numbers in [0, 1)")
    factors, errors = {}, {}
    for path, change in changes.items():
        if not isinstance(change, Dense):
            factors[path] = change
            continue
        factors[path] = _factors(np.asarray(change.delta), tolerance)
        errors[path] = _error(np.asarray(change.delta, np.float64), factors[path])
    return Truncated(factors, errors)


def _factors(delta: np.ndarray, tolerance: float) -> Factors:
    left, values, right = np.linalg.svd(delta.astype(np.float64), full_matrices=False)
    # tails[r]: what is missed with r components.
    tails = np.sqrt(np.append(np.cumsum((values**2)[::-1])[::-1], 0))
    rank = int(np.argmax(tails <= tolerance * tails[0]))
    root = np.sqrt(values[:rank])
    a, b = left[:, :rank] * root, root[:, None] * right[:rank]
    return Factors(a.astype(delta.dtype), b.astype(delta.dtype))


def _error(delta: np.ndarray, factors: Factors) -> float:
    product = factors.a.astype(np.float64) @ factors.b.astype(np.float64)
    size = np.linalg.norm(delta)
    return float(np.linalg.norm(delta - product) / size) if size else 0.0
