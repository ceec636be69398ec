"""The formulas against minimisers that know nothing of them."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from linear_theory.structure.compression import theory as compression
from linear_theory.structure.compression.instances import RANK, draw_layers, draw_pairs


def descended(loss, start):
    """The value that a general minimiser over two factors comes to."""
    m, d = 3, 4

    def of(vector):
        return loss(vector[: m * 2].reshape(m, 2) @ vector[m * 2 :].reshape(2, d))

    return min(minimize(of, s, tol=1e-12).fun for s in start.normal(size=(4, 2 * (m + d))))


def test_no_factors_have_a_smaller_loss():
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(3, 4)), rng.normal(size=(4, 9))
    best = compression.project(weight, x @ x.T, 2)
    loss = np.sum(((weight - best) @ x) ** 2)
    assert loss == pytest.approx(compression.tail(weight @ x, 2), rel=1e-10)
    assert loss <= descended(lambda w: np.sum(((weight - w) @ x) ** 2), rng) + 1e-7


def test_no_factors_have_a_smaller_residual():
    rng = np.random.default_rng(1)
    y, x = rng.normal(size=(3, 9)), rng.normal(size=(4, 9))
    best = compression.regression(x @ x.T, y @ x.T, 2)
    loss = np.sum((y - best @ x) ** 2)
    assert loss == pytest.approx(compression.regression_least(x, y, 2), rel=1e-10)
    assert loss <= descended(lambda w: np.sum((y - w @ x) ** 2), rng) + 1e-7


def test_ranks():
    layer, pair = draw_layers(jax.random.key(0), 2), draw_pairs(jax.random.key(0), 2)
    for model in (
        compression.project(layer.weight, layer.gram, RANK),
        compression.stacked_core(pair.b, pair.a, RANK),
    ):
        assert np.all(np.linalg.matrix_rank(model) == RANK)


def test_a_grid_has_seven_points():
    values = compression.rounded(np.linspace(-9, 9, 99), np.array(0.5))
    np.testing.assert_array_equal(np.unique(values), 0.5 * np.arange(-3, 4))
