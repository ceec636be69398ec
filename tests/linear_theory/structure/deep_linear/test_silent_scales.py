import jax
import numpy as np
import pytest

from linear_theory.structure.deep_linear import silent_scales as scales


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_scales_by_hand_and_with_a_sign():
    path = np.asarray(scales.silent_scales(np.array([1.0, -0.5, 2.0]), 0.1, 0.2, steps=1))
    factors = 1 - 0.02 - 0.1 * np.array([1.0, 4.0, 0.25])
    np.testing.assert_allclose(path[1], np.array([1.0, -0.5, 2.0]) * factors)


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_laws_bracket_the_recursion(depth):
    eps, step, steps = 0.9, 0.05, 500
    rho = np.asarray(scales.silent_scales(np.full(depth, eps), step, 0.0, steps=steps))[-1, 0]
    upper = float(scales.decay_law(eps, depth, step, steps))
    lower = float(scales.decay_law_below(eps, depth, step, steps))
    assert lower < rho < upper
    assert upper / lower < 1.3


def test_deeper_networks_keep_their_silent_scales():
    # The published ratios rho(t) / (eps (1 - eta lam)^t) at eps = 0.3, L = 2, 3, 4, 6.
    ratios = []
    for depth in (2, 3, 4, 6):
        rho = scales.silent_scales(np.full(depth, 0.3), 0.05, 0.1, steps=50)
        ratios.append(float(rho[-1, 0]) / (0.3 * (1 - 0.005) ** 50))
    assert ratios == sorted(ratios) and ratios[0] < 0.9 and ratios[-1] > 0.999
