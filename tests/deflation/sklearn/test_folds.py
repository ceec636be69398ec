"""Weights of samples, and the samples that are held out, of the reduced-rank regression."""

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn")
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from deflation.problem.moments import Moments
from deflation.sklearn import ReducedRankRegression

G = np.random.default_rng(1)
X = G.normal(size=(40, 4)) + 5
Y = X @ np.outer([1, 2, 0, -1.0], [1, 0, 2.0]) + G.normal(size=(40, 3)) - 3
WEIGHT = G.integers(0, 4, 40).astype(float)
KINDS = [{}, {"standardise": True}, {"intercept": False, "ridge": 2.0}]


def same(model, other):
    for name in ("coef_", "intercept_", "singular_values_", "explained_variance_ratio_"):
        got, wanted = getattr(model, name), getattr(other, name)
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("options", KINDS)
def test_a_weight_counts_as_repeated_rows(options, sparse):
    row = np.repeat(np.arange(40), WEIGHT.astype(int))
    x = scipy.sparse.csr_array(X) if sparse else X
    model = ReducedRankRegression(rank=2, **options).fit(x, Y, sample_weight=WEIGHT)
    same(model, ReducedRankRegression(rank=2, **options).fit(X[row], Y[row]))
    floor = ReducedRankRegression(rule="noise_floor", **options)
    whole = floor.fit(X[row], Y[row]).rank_
    assert floor.fit(x, Y, WEIGHT).rank_ == whole


def test_full_rank_is_weighted_least_squares_by_hand():
    ones = np.column_stack([X, np.ones(40)])
    root = np.sqrt(WEIGHT)[:, None]
    wanted = np.linalg.lstsq(root * ones, root * Y, rcond=None)[0].T
    model = ReducedRankRegression(rank=3).fit(X, Y, WEIGHT)
    np.testing.assert_allclose(model.coef_, wanted[:, :4], atol=1e-9)
    np.testing.assert_allclose(model.intercept_, wanted[:, 4], atol=1e-8)
    peer = Ridge(alpha=3.0).fit(X, Y, sample_weight=WEIGHT)
    model = ReducedRankRegression(rank=3, ridge=3.0).fit(X, Y, sample_weight=WEIGHT)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-9)


def test_a_rank_is_the_best_one_for_the_weights():
    """Weighted least squares, then the leading outputs of the weighted fit."""
    total = WEIGHT.sum()
    x, y = (part - WEIGHT @ part / total for part in (X, Y))
    root = np.sqrt(WEIGHT)[:, None]
    full = np.linalg.lstsq(root * x, root * y, rcond=None)[0]
    leading = np.linalg.svd(root * (x @ full))[2][:1]
    model = ReducedRankRegression(rank=1).fit(X, Y, WEIGHT)
    np.testing.assert_allclose(model.coef_, (full @ leading.T @ leading).T, atol=1e-9)


def test_weights_come_in_parts():
    wanted = ReducedRankRegression(cv=3).fit(X, Y, WEIGHT)
    parts = ReducedRankRegression(cv=3)
    for rows in np.split(np.arange(40), [7, 12]):
        parts.partial_fit(X[rows], Y[rows], sample_weight=WEIGHT[rows])
    same(parts, wanted)
    np.testing.assert_allclose(parts.cv_error_, wanted.cv_error_, rtol=1e-8)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("cv", [KFold(3), ShuffleSplit(4, random_state=0), list(KFold(5).split(X))])
def test_held_out_errors_are_those_of_refitted_models(cv, options):
    model = ReducedRankRegression(cv=cv, **options).fit(X, Y, WEIGHT)
    errors = []
    for train, test in cv if isinstance(cv, list) else cv.split(X):
        w = WEIGHT[train]
        rest = ReducedRankRegression(rank=1, **options).fit(X[train], Y[train], w)
        mean = np.average(Y[train], axis=0, weights=w)
        spread = np.sqrt(np.average((Y[train] - mean) ** 2, axis=0, weights=w))
        scale = spread if model.standardise else 1
        pairs = [rest.coefficients(rank) for rank in range(4)]
        missed = [((Y[test] - X[test] @ w.T - c) / scale) ** 2 for w, c in pairs]
        errors.append([np.average(m.mean(axis=1), weights=WEIGHT[test]) for m in missed])
    np.testing.assert_allclose(model.cv_error_, np.mean(errors, axis=0), rtol=1e-8)
    deviation = np.std(errors, axis=0, ddof=1) / len(errors) ** 0.5
    np.testing.assert_allclose(model.cv_standard_error_, deviation, rtol=1e-6)


def test_groups_are_held_out_together():
    groups = np.arange(40) // 5
    pairs = list(GroupKFold(4).split(X, Y, groups))
    wanted = ReducedRankRegression(cv=pairs).fit(X, Y)
    model = ReducedRankRegression(cv=GroupKFold(4)).fit(X, Y, groups=groups)
    np.testing.assert_array_equal(model.cv_error_, wanted.cv_error_)


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"cv": 5}, {"groups": np.arange(40)}, r"allowed is a splitter .* cv=GroupKFold\(5\)"),
        ({"cv": "k"}, {}, "cv is 'k'; allowed are integers >= 2, splitters and lists"),
        ({"cv": 2.0}, {}, "cv is 2.0; allowed are integers >= 2, splitters and lists"),
        ({"cv": None}, {}, "cv is None"),
        ({"cv": KFold(2)}, {"sample_weight": np.arange(40) < 20}, "0 for all .* split 0 of cv"),
        ({}, {"sample_weight": np.arange(40) < 1}, "0 for all samples of a side of split"),
        ({}, {"sample_weight": -np.ones(40)}, "Negative values"),
    ],
)
def test_refusals(options, given, message):
    with pytest.raises(ValueError, match=message):
        ReducedRankRegression(**options).fit(X, Y, **given)


def test_parts_with_folds_of_a_splitter_are_refused():
    with pytest.raises(ValueError, match=r"allowed with partial_fit are integers >= 2"):
        ReducedRankRegression(cv=KFold(2)).partial_fit(X, Y)


def test_moments_of_unequal_weights():
    weight = np.array([0.5, 2.0, 1.5])
    x, y = X[:3].T, Y[:3].T
    sums = Moments.of(x, y, weight)
    np.testing.assert_allclose(sums.about()[1], (y * weight) @ x.T, rtol=1e-12)
    both = Moments.of(x[:, :2], y[:, :2], weight[:2]).joined(Moments.of(x[:, 2:], y[:, 2:], [1.5]))
    np.testing.assert_allclose(both.gram, sums.gram, rtol=1e-9)
