"""Scores in closed form, against scikit-learn and scipy, and where these are not defined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from finetune.tasks import metrics

N = 25
CLASSES = st.integers(2, 4)
SEEDS = st.integers(0, 10**6)


def draw(seed, classes):
    """Labels, and predictions that agree with some of them."""
    g = np.random.default_rng(seed)
    labels = g.integers(0, classes, N)
    return np.where(g.random(N) < g.random(), labels, g.integers(0, classes, N)), labels


@given(seed=SEEDS, classes=CLASSES)
def test_classification_agrees_with_scikit_learn(seed, classes):
    p, t = draw(seed, classes)
    assert metrics.accuracy(p, t) == sk.accuracy_score(t, p)
    assert metrics.matthews(p, t) == pytest.approx(sk.matthews_corrcoef(t, p), abs=1e-12)
    p, t = p > 0, t > 0
    expected = sk.f1_score(t, p, zero_division=0.0)
    assert metrics.f1(p.astype(int), t.astype(int)) == pytest.approx(expected, abs=1e-12)


@given(seed=SEEDS, ties=st.booleans())
def test_correlations_agree_with_scipy(seed, ties):
    g = np.random.default_rng(seed)
    p, t = g.normal(size=N), g.normal(size=N)
    if ties:
        p, t = np.round(p), np.round(t)
    assert metrics.pearson(p, t) == pytest.approx(stats.pearsonr(p, t).statistic, abs=1e-12)
    assert metrics.spearman(p, t) == pytest.approx(stats.spearmanr(p, t).statistic, abs=1e-12)


def test_matthews_in_closed_form():
    tp, tn, fp, fn = 6, 3, 1, 2
    p = np.repeat([1, 0, 1, 0], [tp, tn, fp, fn])
    t = np.repeat([1, 0, 0, 1], [tp, tn, fp, fn])
    expected = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert metrics.matthews(p, t) == pytest.approx(expected, rel=1e-14)
    assert metrics.f1(p, t) == 2 * tp / (2 * tp + fp + fn)
    assert metrics.accuracy(p, t) == (tp + tn) / 12


def test_matthews_of_many_rows_does_not_overflow():
    t = np.arange(400_000) % 2
    assert metrics.matthews(t, t) == pytest.approx(1, abs=1e-15)
    assert metrics.matthews(1 - t, t) == pytest.approx(-1, abs=1e-15)


def test_the_majority_class_of_a_known_split():
    # MRPC's development set: 279 of 408 are paraphrases.
    p, t = np.ones(408, int), np.repeat([0, 1], [129, 279])
    got = metrics.score(("accuracy", "f1", "accuracy_f1", "matthews"), p, t, 2)
    assert got["accuracy"] == 279 / 408
    assert got["f1"] == 2 * 279 / (408 + 279)
    assert got["accuracy_f1"] == (got["accuracy"] + got["f1"]) / 2
    assert got["matthews"] == 0.0


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_symmetries(seed, scale, shift):
    g = np.random.default_rng(seed)
    p, t = g.normal(size=N), g.normal(size=N)
    r = metrics.pearson(p, t)
    assert metrics.pearson(scale * p + shift, t) == pytest.approx(r, abs=1e-9)
    assert metrics.pearson(t, p) == r
    assert metrics.pearson(-p, t) == pytest.approx(-r, abs=1e-12)
    assert metrics.spearman(np.exp(p), t) == metrics.spearman(p, t)
    a, b = draw(seed, 2)
    assert metrics.matthews(1 - a, b) == pytest.approx(-metrics.matthews(a, b), abs=1e-12)
    assert metrics.matthews(b, a) == pytest.approx(metrics.matthews(a, b), abs=1e-12)
    assert -1 <= r <= 1


@given(seed=SEEDS)
def test_perfect_and_reversed(seed):
    t = np.random.default_rng(seed).normal(size=N)
    assert metrics.pearson_spearman(t, t) == pytest.approx(1, abs=1e-12)
    assert metrics.pearson_spearman(-3 * t, t) == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.0, 1e300, np.float32(0.1)])
def test_a_constant_has_no_correlation(constant):
    t = np.linspace(0, 5, 7)
    p = np.full(7, constant)
    assert metrics.score(tuple(metrics.REGRESSION), p, t, None) == dict.fromkeys(
        metrics.REGRESSION, 0.0
    )
    assert metrics.pearson(t, p) == 0.0
    # Constant up to the rounding of the mean.
    assert metrics.pearson(0.1 + 1e-17 * t, t) == 0.0


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_correlation_outside_the_range_of_squares(scale):
    t = np.array([1.0, 2.0, 4.0])
    assert metrics.pearson(scale * t, t) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_class_has_no_matthews(value):
    t = np.array([0, 1, 1, 0])
    assert metrics.matthews(np.full(4, value), t) == 0.0
    assert metrics.matthews(t, np.full(4, value)) == 0.0
    assert metrics.matthews(np.zeros(4, int), np.zeros(4, int)) == 0.0
    assert metrics.f1(np.zeros(4, int), np.zeros(4, int)) == 0.0


def test_one_row():
    assert metrics.score(("accuracy", "matthews"), [1], [1], 2) == {"accuracy": 1, "matthews": 0}
    assert metrics.score(("pearson_spearman",), [1.5], [2.0], None) == {"pearson_spearman": 0}


@pytest.mark.parametrize(
    ("names", "p", "t", "classes", "message"),
    [
        (("bleu",), [0], [0], 2, "metric is 'bleu'; allowed are 'accuracy'"),
        (("pearson",), [0], [0], 2, "metric is 'pearson'; allowed are"),
        (("accuracy",), [0.0], [0], 2, "predictions has dtype float64; allowed are integer"),
        (("accuracy",), [2], [0], 2, "predictions has values from 2 to 2; allowed are 0 to 1"),
        (("accuracy",), [0], [-1], 2, "labels has values from -1 to -1; allowed are 0 to 1"),
        (("accuracy",), [0, 1], [0], 2, "predictions has 2 entries; allowed are 1"),
        (("accuracy",), [], [], 2, r"predictions has shape \(0,\); allowed is \(n,\)"),
        (("accuracy",), [[0]], [[0]], 2, r"predictions has shape \(1, 1\)"),
        (("pearson",), [np.nan], [0.0], None, "predictions contains NaN or infinity"),
    ],
)
def test_refused(names, p, t, classes, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(names, p, t, classes)
