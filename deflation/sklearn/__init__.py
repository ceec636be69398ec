"""Estimators for scikit-learn, imported only when asked for; scikit-learn is theirs alone."""

from deflation.sklearn.approximation import LowRankApproximation
from deflation.sklearn.regression import ReducedRankRegression

__all__ = ["LowRankApproximation", "ReducedRankRegression"]
