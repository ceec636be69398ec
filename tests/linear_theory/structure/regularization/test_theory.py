import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from linear_theory.structure.deep_linear import theory as deep
from linear_theory.structure.regularization import theory as reg

PHI = np.array([3.0, 1.5, 0.8, 0.3, 0.05])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (2, [2.8, 1.3, 0.6, 0.1, 0.0]),
        (3, [2.859, 1.318, 0.557, 0.0, 0.0]),
        (4, [2.882, 1.326, 0.0, 0.0, 0.0]),
    ],
)
def test_values_of_the_table(depth, expected):
    np.testing.assert_allclose(reg.shrink(PHI, 0.2, depth), expected, atol=5e-4)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_two_layers_are_the_soft_threshold_and_deeper_ones_a_scalar_search(depth):
    for phi in PHI:
        shrunk = float(reg.shrink(phi, 0.2, depth))
        result = minimize_scalar(
            lambda s, phi=phi: float(reg.penalised(s, phi, 0.2, depth)),
            bounds=(1e-9, phi),
            method="bounded",
            options={"xatol": 1e-10},
        )
        best = min(result.fun, phi**2 / 2)
        assert float(reg.penalised(shrunk, phi, 0.2, depth)) <= best + 1e-12
    np.testing.assert_allclose(reg.shrink(PHI, 0.2, 2), reg.soft_threshold(PHI, 0.2), atol=1e-12)


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_at_the_jump_both_values_are_equally_good(depth):
    threshold, value = (float(part) for part in reg.jump(0.3, depth))
    assert float(reg.penalised(value, threshold, 0.3, depth)) == pytest.approx(threshold**2 / 2)
    assert value == pytest.approx(float(reg.stationary(threshold, 0.3, depth)))
    least, lowest = (float(part) for part in reg.fold(0.3, depth))
    assert least < threshold and lowest < value
    assert np.isnan(reg.stationary(least * 0.999, 0.3, depth))
    assert least == pytest.approx(lowest * (2 * depth - 2) / (depth - 2))
    assert threshold == pytest.approx(value * (depth - 1) / (depth - 2))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_balanced_layers(depth):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((2, 4, 3))
    layers = reg.balanced_layers(rng, matrix, depth, 5)
    np.testing.assert_allclose(deep.product(layers), matrix, atol=1e-13)
    for before, after in itertools.pairwise(layers):
        np.testing.assert_allclose(after.mT @ after, before @ before.mT, atol=1e-13)


def test_narrow_layers_are_refused():
    with pytest.raises(ValueError, match="width is 2; allowed are integers >= 3"):
        reg.balanced_layers(np.random.default_rng(0), np.eye(3), 3, 2)


def test_a_small_start_collapses_and_a_large_one_does_not():
    target = np.array([[1.0]])
    ends = []
    for scale in (0.9 * float(reg.collapse_radius(1.0, 0.2, 3)) / np.sqrt(3), 0.9):
        start = tuple(np.full((1, 1), scale) for _ in range(3))
        path = deep.descend(start, target, 0.1, 0.2, steps=2000)
        ends.append(float(deep.product(path)[-1, 0, 0]))
    assert ends[0] == pytest.approx(0, abs=1e-12)
    assert ends[1] == pytest.approx(float(reg.stationary(1.0, 0.2, 3)))
