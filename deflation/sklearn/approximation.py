"""Low-rank approximation of a table as a transformer of scikit-learn."""

from __future__ import annotations

import jax
import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from deflation.problem import sparse
from deflation.problem.components import product
from deflation.problem.regression import Regression
from deflation.sklearn import solving
from rankwise import checks


class LowRankApproximation(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """min ||X - 1 c^T - T V||_F over scores T (n, r) and components V (r, d), V V^T = I.

    In the place of TruncatedSVD as it is, and in that of PCA with centre=True. Dense samples are
    folded into a triangle (d, d), so that `partial_fit` over parts is `fit` of the whole, and no
    square of X is formed; a sparse X is used by its products alone, centred or not.

    Args:
      n_components: r, from 1 to min(n, d).
      centre: take the mean of every feature off first.
      solver: "exact", or "krylov" or "alternating" for components in turn.
      random_state: seed of an iterative solver.

    Attributes:
      components_: V (r, d), the largest entry of each positive.
      singular_values_, explained_variance_, explained_variance_ratio_: (r,), as PCA or TruncatedSVD
        define them.
      mean_: of the features (d,).
      n_samples_seen_: n.

    Raises:
      ValueError: n_components out of range, or what scikit-learn refuses.

    Source: Eckart and Young (1936).

    Example:
      >>> x = np.diag([3.0, 2.0, 1.0])
      >>> LowRankApproximation(2).fit(x).singular_values_.round(6).tolist()
      [3.0, 2.0]
    """

    def __init__(self, n_components=2, *, centre=False, solver="exact", random_state=0):
        self.n_components = n_components
        self.centre = centre
        self.solver = solver
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X, y=None):
        """Fits to X (n, d), dense or sparse."""
        X = self._checked(X, reset=True)
        rank = self._rank(X.shape[0])
        self._start(X.shape[1])
        # All components of a sparse table are as large as it is when dense.
        if not scipy.sparse.issparse(X) or rank == min(X.shape):
            return self._fold(X)
        self._count(X)
        if hasattr(self, "_triangle"):
            del self._triangle
        b, a = solving.components(
            lambda: Regression.from_operator(*_centred(X, self.mean_ if self.centre else None)),
            rank,
            self.solver,
            self.random_state,
        )
        return self._finish(b, a)

    def partial_fit(self, X, y=None):
        """Adds samples: the result is that of one `fit` to all of them; sparse parts as dense."""
        first = not hasattr(self, "n_samples_seen_")
        X = self._checked(X, reset=first)
        if not first and not hasattr(self, "_triangle"):
            raise ValueError("partial_fit after fit of a sparse X, of which no summary is kept")
        self._rank(X.shape[0] + (0 if first else self.n_samples_seen_))
        if first:
            self._start(X.shape[1])
        return self._fold(X)

    def _checked(self, X, reset: bool):
        checks.flag("centre", self.centre)
        solving.check_solver(self.solver)
        return validate_data(self, X, reset=reset, accept_sparse="csr", dtype=np.float64)

    def _rank(self, n: int) -> int:
        d = self.n_features_in_
        why = f" = min(n_samples={n}, n_features={d})"
        return checks.integer("n_components", self.n_components, 1, min(n, d), why)

    def _start(self, d: int) -> None:
        self.n_samples_seen_, self.mean_, self._squares = 0, np.zeros(d), np.zeros(d)
        self._triangle = np.zeros((0, d))

    def _count(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Counts samples in; their mean, and the row that makes up for the change of it."""
        n, new = self.n_samples_seen_, X.shape[0]
        mean = np.ravel(X.mean(axis=0))
        gap = np.sqrt(n * new / (n + new)) * (self.mean_ - mean)
        inside = X.multiply(X).sum(axis=0) if scipy.sparse.issparse(X) else np.sum(X**2, axis=0)
        self._squares = self._squares + np.ravel(inside)
        self.mean_ = self.mean_ + new / (n + new) * (mean - self.mean_)
        self.n_samples_seen_ = n + new
        return mean, gap

    def _fold(self, X):
        X = X.toarray() if scipy.sparse.issparse(X) else X
        mean, gap = self._count(X)
        rows = np.vstack([X - mean, gap]) if self.centre else X
        self._triangle = np.linalg.qr(np.vstack([self._triangle, rows]), mode="r")
        rank = self.n_components
        if self.solver == "exact" or not self._triangle.any():
            _, s, vt = np.linalg.svd(self._triangle, full_matrices=False)
            return self._finish(s[:rank, None], vt[:rank])
        return self._finish(
            *solving.components(
                lambda: Regression.from_matrix(self._triangle),
                rank,
                self.solver,
                self.random_state,
            )
        )

    def _finish(self, b, a):
        scale = np.linalg.norm(a, axis=1)
        sizes = np.linalg.norm(b, axis=1) * scale
        v = a / np.where(scale > 0, scale, 1)[:, None]
        # The sign of PCA and TruncatedSVD: that of the largest entry.
        signs = np.sign(v[np.arange(len(v)), np.argmax(np.abs(v), axis=1)])
        self.components_ = v * np.where(signs == 0, 1, signs)[:, None]
        self.singular_values_ = sizes
        n = self.n_samples_seen_
        whole = np.sum(self._squares / n - self.mean_**2)
        if self.centre:
            self.explained_variance_ = sizes**2 / max(n - 1, 1)
            whole = whole * n / max(n - 1, 1)
        else:
            self.explained_variance_ = sizes**2 / n - (self.components_ @ self.mean_) ** 2
        self.explained_variance_ratio_ = self.explained_variance_ / (whole if whole > 0 else 1)
        return self

    def transform(self, X):
        """The scores T (n, r) of X (n, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float64)
        scores = X @ self.components_.T
        return scores - self.components_ @ self.mean_ if self.centre else scores

    def inverse_transform(self, X):
        """T V + 1 c^T (n, d) of scores T (n, r)."""
        check_is_fitted(self)
        rebuilt = np.asarray(X, np.float64) @ self.components_
        return rebuilt + self.mean_ if self.centre else rebuilt

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)


def _centred(X, mean) -> tuple:
    """What `Regression.from_operator` takes: a sparse X, less its mean where that is given."""
    times, transposed, *kind = sparse.products(X)
    if mean is not None:
        mean = jax.numpy.asarray(mean)
        times = jax.tree_util.Partial(_less_mean, times, mean)
        transposed = jax.tree_util.Partial(_less_mean_transposed, transposed, mean)
    return times, transposed, *kind


def _less_mean(times, mean, vector):
    return times(vector) - product(mean, vector)


def _less_mean_transposed(transposed, mean, vector):
    return transposed(vector) - mean * jax.numpy.sum(vector)
