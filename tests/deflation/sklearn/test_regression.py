"""Reduced-rank regression: the numbers of its peers, every rank by one fit, and refusals."""

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn")
from sklearn.datasets import load_linnerud
from sklearn.linear_model import Ridge

from deflation.sklearn import ReducedRankRegression
from deflation.sklearn.path import fold_numbers

G = np.random.default_rng(0)
X = G.normal(size=(60, 5)) + 10
Y = X @ np.outer([1, 2, 0, -1, 1.0], [1, 0, 2, 1.0]) + G.normal(size=(60, 4)) - 3


class TestRedundancyAnalysisOfVegan:
    """Legendre and Legendre (1998), table 11.3, as scikit-bio's tests of rda document it with the
    results of R's vegan (skbio/stats/ordination/tests/data/example2_*, BSD licence)."""

    depth = np.arange(1.0, 11)
    sand = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    coral = np.array([0, 0, 0, 0, 1, 0, 1, 0, 1, 0])
    x = np.column_stack([depth, coral, sand, 1 - coral - sand])  # of rank 3 when centred
    y = np.array(
        [
            [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [11, 4, 0, 0, 8, 1],
            [11, 5, 17, 7, 0, 0], [9, 6, 0, 0, 6, 2], [9, 7, 13, 10, 0, 0], [7, 8, 0, 0, 4, 3],
            [7, 9, 10, 13, 0, 0], [5, 10, 0, 0, 2, 4],
        ]
    )  # fmt: skip
    sizes = np.array([25.897954, 14.982578, 8.937841, 6.139956, 1.680705, 0.577350, 0.275984])
    species = np.array(
        [
            [1.700926, -3.648509, 2.254854],
            [1.131309, -2.668483, -4.203715],
            [4.183397, 0.9492028, 1.450372],
            [3.105920, 0.9508293, -1.474339],
            [-0.6542268, -2.856405, 1.655304],
            [-0.3552263, -1.215823, -1.449786],
        ]
    )
    constraints = np.array(
        [
            [-1.203552, 0.973291, 0.398346], [-1.233129, 1.048075, 0.112959],
            [-1.262706, 1.122859, -0.172429], [-0.629153, -1.155379, 0.778203],
            [2.249463, 0.043725, 0.561763], [-0.688307, -1.005810, 0.207427],
            [2.190309, 0.193293, -0.009012], [-0.747462, -0.856242, -0.363348],
            [2.131154, 0.342861, -0.579787], [-0.806617, -0.706674, -0.934123],
        ]
    )  # fmt: skip

    # Another solver in its place test_approximation.py holds.
    @pytest.mark.parametrize(
        "solver", ["exact", pytest.param("krylov", marks=pytest.mark.thorough)]
    )
    def test_the_same_numbers(self, solver):
        model = ReducedRankRegression(rank=3, solver=solver).fit(self.x, self.y)
        np.testing.assert_allclose(model.singular_values_[:3], self.sizes[:3], atol=1e-6)
        assert model.singular_values_[3] < 1e-10  # the fourth is of the residuals
        scale = np.sum(self.sizes**2) ** 0.25
        scores = model.transform(self.x) / scale
        np.testing.assert_allclose(np.abs(scores), np.abs(self.constraints), atol=2e-6)
        fitted = model.predict(self.x) - self.y.mean(axis=0)
        wanted = (self.constraints * scale) @ (self.species / scale).T
        np.testing.assert_allclose(fitted, wanted, atol=1e-4)  # of six printed digits


@pytest.mark.parametrize("standardise", [False, True])
def test_linnerud_by_the_textbook(standardise):
    """Least squares, then the principal components of what is fitted: Izenman's estimator, which
    R's rrr and rda compute."""
    x, y = load_linnerud(return_X_y=True)
    sx, sy = (v.std(axis=0) if standardise else np.ones(3) for v in (x, y))
    xc, yc = (x - x.mean(axis=0)) / sx, (y - y.mean(axis=0)) / sy
    full = np.linalg.lstsq(xc, yc, rcond=None)[0]
    vt = np.linalg.svd(xc @ full)[2]
    model = ReducedRankRegression(rank=1, standardise=standardise).fit(x, y)
    for rank in range(4):
        wanted = (full @ vt[:rank].T @ vt[:rank]).T / sx * sy[:, None]
        weight, constant = model.coefficients(rank)
        np.testing.assert_allclose(weight, wanted, atol=1e-10)
        np.testing.assert_allclose(constant, y.mean(0) - wanted @ x.mean(0), atol=1e-7)


def test_full_rank_is_ridge():
    for intercept in (True, False):
        model = ReducedRankRegression(rank=4, ridge=3.0, intercept=intercept).fit(X, Y)
        peer = Ridge(alpha=3.0, fit_intercept=intercept).fit(X, Y)
        np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-9)
        np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"standardise": True}, {"intercept": False, "ridge": 2.0}])
def test_held_out_errors_are_those_of_refitted_models(options):
    model = ReducedRankRegression(cv=4, **options).fit(X, Y)
    fold = fold_numbers(0, len(X), 4)
    errors = []
    for k in range(4):
        train, test = fold != k, fold == k
        rest = ReducedRankRegression(rank=1, **options).fit(X[train], Y[train])
        scale = Y[train].std(axis=0) if model.standardise else 1
        ranks = [rest.coefficients(rank) for rank in range(5)]
        errors.append([np.mean(((Y[test] - X[test] @ w.T - c) / scale) ** 2) for w, c in ranks])
    errors = np.array(errors)
    np.testing.assert_allclose(model.cv_error_, errors.mean(axis=0), rtol=1e-8)
    np.testing.assert_allclose(model.cv_standard_error_, errors.std(0, ddof=1) / 2, rtol=1e-6)


def test_the_rank_is_found():
    g = np.random.default_rng(3)
    x = g.normal(size=(400, 8))
    y = x @ g.normal(size=(8, 2)) @ g.normal(size=(2, 6)) + g.normal(size=(400, 6))
    assert [
        ReducedRankRegression(rule=rule).fit(x, y).rank_
        for rule in ("one_standard_error", "noise_floor")
    ] == [2, 2]
    model = ReducedRankRegression().fit(x, y)
    assert model.cv_error_[2] <= model.cv_error_[[0, 1]].min() and model.rank_ >= 2


def test_parts_and_sparse_inputs_give_the_fit_of_the_whole():
    wanted = ReducedRankRegression(standardise=True).fit(X, Y)
    parts = ReducedRankRegression(standardise=True)
    for rows in np.split(np.arange(60), [7, 20, 21]):
        parts.partial_fit(X[rows], Y[rows])
    sparse = ReducedRankRegression(standardise=True).fit(scipy.sparse.csr_array(X), Y)
    for other in (parts, sparse):
        np.testing.assert_allclose(other.coef_, wanted.coef_, atol=1e-9)
        np.testing.assert_allclose(other.cv_error_, wanted.cv_error_, rtol=1e-8)


def test_folds_deal_out_every_block_evenly():
    number = fold_numbers(0, 1000, 5)
    assert all(sorted(block) == [0, 1, 2, 3, 4] for block in number.reshape(-1, 5))
    np.testing.assert_array_equal(number[333:400], fold_numbers(333, 67, 5))
    # No period of the rows is a fold of its own.
    assert all(0.1 < np.mean(number[start::5] == 0) < 0.3 for start in range(5))


def test_frames_in_and_names_out():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"), index=range(100, 160))
    model = ReducedRankRegression(rank=2).fit(frame, pandas.DataFrame(Y, columns=list("stuv")))
    assert model.feature_names_in_.tolist() == list("abcde")
    scores = model.set_output(transform="pandas").transform(frame)
    assert scores.columns.tolist() == ["reducedrankregression0", "reducedrankregression1"]
    assert scores.index.tolist() == list(range(100, 160))
    assert model.score(frame, Y) > 0.5


def test_the_path_is_drawn():
    pytest.importorskip("matplotlib")
    model = ReducedRankRegression(cv=3).fit(X, Y)
    (axes,) = model.plot_path().axes
    assert next(len(line.get_xdata()) for line in axes.lines) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank is 0; allowed are integers >= 1"),
        ({"rank": 5}, "rank is 5; allowed are integers from 1 to 4"),
        ({"rank": "best"}, "rank is 'best'"),
        ({"ridge": -1}, "ridge is -1"),
        ({"cv": 61}, "n_samples=60; allowed for rank='auto' are at least cv=61"),
        ({"cv": 1}, "cv is 1"),
        ({"rule": "aic"}, "rule is 'aic'"),
        ({"solver": "lu"}, "solver is 'lu'"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ReducedRankRegression(**options).fit(X, Y)


def test_a_column_that_does_not_vary_cannot_be_standardised():
    still = np.where(np.arange(5) == 2, 7.0, X)
    with pytest.raises(ValueError, match="feature 2 does not vary"):
        ReducedRankRegression(rank=1, standardise=True).fit(still, Y)
    with pytest.raises(ValueError, match="target 0 does not vary"):
        ReducedRankRegression(rank=1, standardise=True).fit(X, Y * [0, 1, 1, 1] + 4)
