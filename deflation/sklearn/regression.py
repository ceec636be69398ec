"""Reduced-rank regression as an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import jax
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MultiOutputMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from deflation.growth import noise_floor
from deflation.problem.moments import Moments, all_joined
from deflation.problem.regression import Regression
from deflation.sklearn import folds, plot, solving
from deflation.sklearn import path as paths
from rankwise import checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES = ("best", "one_standard_error", "noise_floor")


class ReducedRankRegression(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    MultiOutputMixin,
    RegressorMixin,
    BaseEstimator,
):
    """min_W sum_i w_i |y_i - W x_i - c|^2 + ridge ||W||_F^2, W (m, d) of a rank, n samples.

    The second moments of the data are all that is kept, so that `partial_fit` over parts is `fit`
    of the whole, and one decomposition gives every rank: with U the leading directions of the
    outputs that X explains, W_r = U_r U_r^T W. `transform` gives the r scores of a sample.

    Args:
      rank: 1..min(m, d), or "auto" for the rule.
      ridge: >= 0, in the units of ||X||^2; of scaled inputs when standardised.
      intercept: fit c; the ridge does not shrink it.
      standardise: divide inputs and outputs by their standard deviation first, so that every output
        counts alike; coefficients and predictions are in the given units all the same.
      solver: "exact", or "krylov" or "alternating" for the components of the chosen rank in turn.
      rule: of rank="auto": "best" held-out error, the least rank within "one_standard_error" of it,
        or the components above the "noise_floor" that n > rank X lets one estimate.
      cv: of the held-out error, the number of folds, which rows are dealt out to by their number;
        or a splitter of scikit-learn, as GroupKFold(5), or a list of (train, test) indices.
      random_state: seed of an iterative solver.

    Attributes:
      coef_: W (m, d), or (d,) where y has one axis; intercept_ c (m,) or a number.
      rank_: the rank of coef_.
      singular_values_: s_k of all q = min(m, d) components, in the (standardised) units of Y.
      explained_variance_ratio_: s_k^2 / ||Y||^2 (about the mean with an intercept), shape (q,).
      cv_error_, cv_standard_error_: held-out mean squared error of the ranks 0..q and its standard
        error over folds; only for rank="auto".

    Raises:
      ValueError: a rank out of range, fewer samples than folds, samples to fit or to hold out that
        have no weight, a column that does not vary where it is to be standardised, or what
        scikit-learn refuses.

    Source: Izenman (1975); van den Wollenberg (1977), where it is called redundancy analysis.

    Example:
      >>> from sklearn.datasets import load_linnerud
      >>> x, y = load_linnerud(return_X_y=True)
      >>> model = ReducedRankRegression(rank=1).fit(x, y)
      >>> model.coef_.shape, model.transform(x).shape
      ((3, 3), (20, 1))
    """

    def __init__(
        self,
        rank="auto",
        *,
        ridge=0.0,
        intercept=True,
        standardise=False,
        solver="exact",
        rule="best",
        cv=5,
        random_state=0,
    ):
        self.rank = rank
        self.ridge = ridge
        self.intercept = intercept
        self.standardise = standardise
        self.solver = solver
        self.rule = rule
        self.cv = cv
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X, y, sample_weight=None, *, groups=None):
        """Fits to X (n, d), dense or sparse, and y (n, m) or (n,).

        Args:
          sample_weight: w (n,), none of them negative; one of k counts as k equal rows do. The
            "noise_floor" takes their sum for the number of samples. None for 1 each.
          groups: of the samples (n,), for a splitter `cv` that reads them.
        """
        X, y, weight = self._checked(X, y, sample_weight, first=True)
        if not self._crosses or folds.number_of(self.cv):
            if groups is not None and self._crosses:
                raise ValueError(
                    f"groups is given with cv={self.cv}, whose folds are dealt out by row; allowed "
                    f"is a splitter that reads them, as cv=GroupKFold({self.cv})"
                )
            return self._add(X, y, weight, first=True)
        pairs = folds.split(self.cv, X, y, self._outputs, weight, groups)
        whole = folds.weighted(folds.moments(X, y, weight, np.arange(len(y))), 0)
        self._solve(whole, pairs)
        self._moments, self.n_samples_seen_ = [whole], len(y)
        return self

    def partial_fit(self, X, y, sample_weight=None):
        """Adds samples: the result is that of one `fit` to all of them.

        Raises:
          ValueError: a `cv` that is no number, as the folds of a splitter are those of all samples.
        """
        X, y, weight = self._checked(X, y, sample_weight, first=not hasattr(self, "_moments"))
        if self._crosses and folds.number_of(self.cv) is None:
            raise ValueError(f"cv is {self.cv!r}; allowed with partial_fit are integers >= 2")
        return self._add(X, y, weight, first=not hasattr(self, "_moments"))

    @property
    def _crosses(self) -> bool:
        """Whether the rank is chosen by samples that are held out."""
        return self.rank == "auto" and self.rule != "noise_floor"

    def _checked(self, X, y, sample_weight, first: bool):
        self._check()
        X, y = validate_data(
            self,
            X,
            y,
            reset=first,
            accept_sparse="csr",
            dtype=np.float64,
            multi_output=True,
            y_numeric=True,
            ensure_min_samples=2 if first else 1,
        )
        y = np.asarray(y, np.float64)
        outputs = y.shape[1:]
        if not first and outputs != self._outputs:
            raise ValueError(f"y has rows of shape {outputs}; allowed is {self._outputs}")
        self._outputs = outputs
        return X, y.reshape(len(y), -1), folds.weights(sample_weight, X)

    def _add(self, X, y, weight, first: bool):
        before = 0 if first else self.n_samples_seen_
        count = folds.number_of(self.cv) if self._crosses else 1
        if before + len(y) < count:
            raise ValueError(
                f"n_samples={before + len(y)}; allowed for rank='auto' are at least cv={count}, "
                "one for every fold"
            )
        if not first and count != len(self._moments):
            raise ValueError("rank, rule or cv has changed since the first samples; use fit")
        number = paths.fold_numbers(before, len(y), count)
        new = [folds.moments(X, y, weight, number == k) for k in range(count)]
        if not first:
            pairs = zip(self._moments, new, strict=True)
            new = [old if part is None else old.joined(part) for old, part in pairs]
        new = [folds.weighted(part, k) for k, part in enumerate(new)]
        self._solve(all_joined(new), folds.left_out(new) if self._crosses else ())
        self._moments, self.n_samples_seen_ = new, before + len(y)
        return self

    def _check(self) -> None:
        if not (isinstance(self.rank, str) and self.rank == "auto"):
            checks.integer("rank", self.rank, 1)
        checks.positive("ridge", self.ridge, zero=True)
        checks.flag("intercept", self.intercept)
        checks.flag("standardise", self.standardise)
        checks.choice("rule", self.rule, RULES)
        folds.number_of(self.cv)
        solving.check_solver(self.solver)

    def _solve(self, whole: Moments, pairs: Iterable[folds.Pair]) -> None:
        for name in ("cv_error_", "cv_standard_error_"):  # of an earlier fit by another rule
            self.__dict__.pop(name, None)
        scaling = paths.Scaling.of(whole, self.intercept, self.standardise)
        gram, cross, squares = scaling.moments(whole)
        if self.standardise:
            self._require_spread(np.diag(gram), squares, whole.count)
        fitted = paths.path(gram, cross, self.ridge)
        limit = len(fitted.sizes)
        freedom = max(int(whole.count) - int(self.intercept), 1)

        def problem():
            ridged = gram + self.ridge * np.eye(len(gram))
            return Regression.from_moments(ridged, cross, float(squares.sum()), freedom)

        if self.rank != "auto":
            self.rank_ = checks.integer(
                "rank", self.rank, 1, limit, " = min(n_targets, n_features)"
            )
        elif self.rule == "noise_floor":
            self.rank_ = _above_noise(problem, fitted.sizes, cross)
        else:
            errors = paths.held_out(pairs, self.intercept, self.standardise, self.ridge)
            self.rank_ = paths.chosen(errors, self.rule == "one_standard_error")
            self.cv_error_ = errors.mean(axis=0)
            self.cv_standard_error_ = paths.standard_errors(errors)
        if self.solver != "exact" and cross.any():
            b, a = solving.components(problem, self.rank_, self.solver, self.random_state)
            scale = np.linalg.norm(b, axis=1, keepdims=True)
            fitted.left[:, : self.rank_] = (b / np.where(scale > 0, scale, 1)).T
            fitted.right[: self.rank_] = a * scale
        self._left = fitted.left * scaling.y_scale[:, None]
        self._right = fitted.right / scaling.x_scale
        self._scaling = scaling
        self.singular_values_ = fitted.sizes
        total = squares.sum()
        self.explained_variance_ratio_ = fitted.sizes**2 / (total if total > 0 else 1)
        self.coef_, self.intercept_ = self.coefficients(self.rank_)

    def _require_spread(self, inputs, outputs, count) -> None:
        for kind, sums, names in (
            ("feature", inputs, getattr(self, "feature_names_in_", None)),
            ("target", outputs, None),
        ):
            still = np.flatnonzero(sums < count * np.finfo(float).eps)
            if len(still):
                name = still[0] if names is None else repr(names[still[0]])
                raise ValueError(
                    f"{kind} {name} does not vary; allowed with standardise=True are columns that "
                    "do: leave it out"
                )

    def coefficients(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """W_r and c_r of any rank from 0 to min(m, d), shaped as `coef_` and `intercept_`."""
        rank = checks.integer("rank", rank, 0, len(self._right))
        weight = self._left[:, :rank] @ self._right[:rank]
        constant = self._scaling.y_centre - weight @ self._scaling.x_centre
        if not self._outputs:  # y had one axis
            return weight[0], constant.item()
        return weight, constant

    def predict(self, X):
        """Y (n, m) or (n,) of X (n, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float64)
        return X @ self.coef_.T + self.intercept_

    def transform(self, X):
        """The scores (n, rank_): what of X the outputs depend on."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float64)
        right = self._right[: self.rank_]
        return X @ right.T - right @ self._scaling.x_centre

    def plot_path(self) -> Figure:
        """Held-out error by rank; needs rank="auto" with a rule of cross-validation."""
        check_is_fitted(self, "cv_error_")
        return plot.error_by_rank(self.cv_error_, self.rank_, self.cv_standard_error_)

    @property
    def _n_features_out(self) -> int:
        return self.rank_


def _above_noise(problem, sizes: np.ndarray, cross: np.ndarray) -> int:
    if not cross.any():
        return 1
    with jax.enable_x64(True):
        regression, rule = problem(), noise_floor()
        if float(regression.freedom) < 1:
            raise ValueError(
                "rule is 'noise_floor', which needs more samples than features that are independent"
            )
        return int(rule.keep(rule.threshold(regression), sizes))
