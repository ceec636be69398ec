"""What scikit-learn asks of estimators."""

import pytest

pytest.importorskip("sklearn")
from sklearn.utils.estimator_checks import parametrize_with_checks

from deflation.sklearn import LowRankApproximation, ReducedRankRegression


@parametrize_with_checks([ReducedRankRegression(), LowRankApproximation()])
def test_checks_of_sklearn(estimator, check):
    check(estimator)


@pytest.mark.thorough
@parametrize_with_checks(
    [
        ReducedRankRegression(rank=1, ridge=0.1, standardise=False, intercept=False),
        LowRankApproximation(n_components=1, centre=True),
    ]
)
def test_checks_of_sklearn_with_other_options(estimator, check):
    check(estimator)
