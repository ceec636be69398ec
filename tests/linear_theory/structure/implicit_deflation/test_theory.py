"""The scalar equation is descent on matrices; bounds and exponents where they are known."""

import itertools

import numpy as np
import pytest

from linear_theory.instances.random_matrices import orthogonal
from linear_theory.structure.implicit_deflation import theory as implicit

VALUES = np.array([1.0, 0.6, 0.3])
STEP = 0.02


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_aligned_layers_follow_the_equation(depth):
    rng = np.random.default_rng(depth)
    frames = [orthogonal(rng, 4, 3) for _ in range(depth + 1)]
    root = 0.3
    layers = [root * after @ before.T for before, after in itertools.pairwise(frames)]
    target = frames[-1] * VALUES @ frames[0].T

    def product(layers):
        result = np.eye(4)
        for layer in layers:
            result = layer @ result
        return result

    for _ in range(200):
        slope = target - product(layers)
        layers = [
            layer + STEP * product(layers[k + 1 :]).T @ slope @ product(layers[:k]).T
            for k, layer in enumerate(layers)
        ]
    expected = implicit.descent(VALUES, root**depth, STEP, np.array([200]), depth)[0]
    found = np.diag(frames[-1].T @ product(layers) @ frames[0])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(product(layers), frames[-1] * found @ frames[0].T, atol=1e-12)


def test_flow_is_the_limit_of_small_steps():
    for step in (0.1, 0.01):
        times = np.array([int(4 / step)])
        error = implicit.descent(VALUES, 1e-2, step, times)[0] - implicit.flow(VALUES, 1e-2, 4.0)
        assert np.all(abs(error) < implicit.flow_error(VALUES, step, 4.0))


def test_bounds_of_one_component_hold_at_every_step():
    times = np.arange(1, 1500, 7)
    sigma = implicit.descent(VALUES, 1e-3, STEP, times)
    missing = implicit.missing(VALUES, 1e-3, STEP, times[:, None])
    # Steps below the rounding of the root change nothing: eta (s - sigma) < eps / 2.
    stuck = np.finfo(np.float64).eps / STEP
    assert np.all(VALUES - sigma <= missing + stuck)
    assert np.all(sigma <= implicit.grown(VALUES, 1e-3, STEP, times[:, None]) * (1 + 1e-12))


def test_the_bound_of_the_plateau_takes_each_component_once():
    parts = implicit.plateau(VALUES, np.array([1e-3]), STEP, np.array([300.0]))
    missing = implicit.missing(VALUES, 1e-3, STEP, 300.0)
    grown = implicit.grown(VALUES, 1e-3, STEP, 300.0)
    expected = [
        np.hypot(missing[0], np.hypot(*grown[1:])),
        np.hypot(np.hypot(*missing[:2]), grown[2]),
    ]
    np.testing.assert_allclose(parts, expected)


def test_more_layers_wait_for_each_other_longer():
    growth = [implicit.growth_ahead(VALUES, depth)[0] for depth in (3, 4, 8)]
    assert growth == sorted(growth, reverse=True) and growth[-1] > 1 / (1 - 0.6)
