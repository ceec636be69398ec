import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from linear_theory import check, registry
from linear_theory.structure.margin import theory as margin
from linear_theory.structure.margin.claims import draw_separable


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_the_drawn_margin_is_that_of_a_support_vector_machine():
    group = draw_separable(jax.random.key(0), 2)[0]
    signed = group.signed[0]
    result = minimize(
        lambda w: w @ w / 2,
        5 * group.direction[0],
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: signed @ w - 1, "jac": lambda w: signed},
        method="SLSQP",
    ).x
    np.testing.assert_allclose(result, group.direction[0] / group.margin[0], rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_limit_is_reached_by_equal_rank_one_layers(depth):
    group = draw_separable(jax.random.key(1), 1)[0]
    direction = group.direction[0]
    layers = [np.outer(np.eye(3)[0], direction)]
    layers += [np.outer(np.eye(3)[0], np.eye(3)[0])] * (depth - 1)
    layers[-1] = layers[-1][:1]
    least = float(margin.least_margin(tuple(layers), group.signed[0]))
    limit = float(margin.margin_limit(group.margin[0], depth))
    assert least / depth ** (depth / 2) == pytest.approx(limit)


def test_a_step_by_hand_and_its_drift():
    layers = (np.array([[2.0]]), np.array([[1.0]]))
    end = margin.separate(layers, np.array([[1.0]]), 0.5, 1)
    # log exp(-w) has gradient (-1, -2), and ||Theta||^-2 = 1/5.
    np.testing.assert_allclose(np.ravel(end.layers), [2.1, 1.2])
    assert float(end.drift) == pytest.approx(0.01 * 5)


def test_training_keeps_the_imbalance_up_to_the_drift():
    group = draw_separable(jax.random.key(2), 4, size=0.8)[1]
    end = margin.separate(*group[:2], group.step, steps=200)

    def imbalances(layers):
        first, second, third = (np.asarray(layer) for layer in layers)
        return [second.mT @ second - first @ first.mT, third.mT @ third - second @ second.mT]

    for before, after in zip(imbalances(group.layers), imbalances(end.layers), strict=True):
        change = np.linalg.norm(after - before, axis=(1, 2))
        assert (change <= np.asarray(end.drift)).all() and (change > 0).all()


def test_the_bound_on_the_imbalance_covers_all_that_a_drift_can_do():
    """From balanced layers to D = -(2, 1)/sqrt(5), the change of norm 1 that adds most."""
    balanced = (np.outer(np.eye(2)[0], np.eye(2)[0]), np.eye(2)[:1])
    np.testing.assert_array_equal(margin.imbalance_bound(balanced, np.zeros(())), [0.0])
    moved = (np.diag(np.sqrt([2.0, 1.0])) / 5**0.25, np.zeros((1, 2)))
    drift = np.linalg.norm(moved[0] @ moved[0].T)
    assert drift == pytest.approx(1.0)
    reached = margin.imbalance_bound(moved, np.zeros(()))
    assert reached == pytest.approx(5**0.5)
    assert (margin.imbalance_bound(balanced, drift) >= reached).all()


def test_a_finite_norm_leaves_no_more_than_log_n():
    """Part of what a classifier of norm ||w|| may miss of the margin is missed: a quarter of it."""
    row = check(registry()["margin.largest"], jax.random.key(11), 25)
    assert row.violations == 0 and row.tolerance_used > 0.1
