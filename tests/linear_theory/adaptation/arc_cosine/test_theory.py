import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.adaptation.arc_cosine import theory as ac
from linear_theory.adaptation.toys import theory as toys


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def quadrature(weights, teacher, gated):
    """E x (relu(w~.x) - relu(w.x)) [1(w.x > 0)] in the plane, by angles: E ||x||^2 = 2 there."""
    angles = (np.arange(200_000) + 0.5) * 2 * np.pi / 200_000
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    change = np.maximum(x @ teacher, 0) - np.maximum(x @ weights, 0)
    if gated:
        change = change * (x @ weights > 0)
    return 2 * (x * change[:, None]).mean(axis=0)


@pytest.mark.parametrize("teacher", [(0.3, 0.9), (-2.0, 0.5), (2.0, 0.0), (1.0, 1e-3)])
def test_means_in_the_plane(teacher):
    weights, teacher = np.array([1.0, 0.0]), np.array(teacher)
    np.testing.assert_allclose(
        ac.mean_relu_direction(weights, teacher), quadrature(weights, teacher, True), atol=1e-5
    )
    np.testing.assert_allclose(
        (teacher - weights) / 2, quadrature(weights, teacher, False), atol=1e-5
    )


def test_directions_are_gradients():
    random = np.random.default_rng(0)
    x, weights, truth = (random.normal(size=s) for s in ((30, 4), (4, 3), (4, 3)))
    targets = np.maximum(x @ truth, 0)

    def loss(w):
        return jnp.sum((jnp.maximum(x @ w, 0) - targets) ** 2) / 60

    np.testing.assert_allclose(
        ac.relu_direction(x, weights, targets), -jax.grad(loss)(weights), atol=1e-12
    )
    stated = x.T @ (targets - np.maximum(x @ weights, 0)) / 30
    np.testing.assert_allclose(ac.glm_direction(x, weights, targets), stated, atol=1e-12)


def test_the_bias_is_bounded_for_all_acute_angles():
    angles = np.linspace(1e-4, np.pi / 2, 2000)
    for length in (0.2, 1.0, 5.0):
        weights = np.tile([1.0, 0.0], (len(angles), 1))
        teacher = length * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        half = (teacher - weights) / 2
        bias = np.linalg.norm(ac.mean_relu_direction(weights, teacher) - half, axis=1)
        bound = ac.relative_bias_bound(weights, teacher) * np.linalg.norm(half, axis=1)
        assert (bias <= bound * (1 + 1e-9)).all()
    # Sharp at a right angle for a long w~, where ||w~|| = ||delta|| in the limit.
    far = np.array([1e-9, 1e3])
    ratio = np.linalg.norm(ac.mean_relu_direction(np.array([1.0, 0.0]), far) - far / 2)
    assert float(ac.relative_bias_bound(np.array([1.0, 0.0]), far)) * 500 == pytest.approx(
        ratio, rel=1e-2
    )


def test_end_points_and_the_field():
    truth = 5**0.5
    for first in (-2.0, 0.0, 0.3, 1e8):
        b = float(toys.end_point(first, truth))
        assert (truth / b) ** 2 - b**2 == pytest.approx(first, rel=1e-7, abs=1e-9)
    assert float(toys.end_point(0.0, truth)) == pytest.approx(5**0.25)
    point = jnp.array([0.7, -1.3])
    down = toys.field(*point, 0.4)
    np.testing.assert_allclose(
        down, -jax.grad(lambda p: (p[0] * p[1] - 0.4) ** 2 / 2)(point), atol=1e-12
    )


def test_the_balance_changes_in_second_order():
    random = np.random.default_rng(1)
    a, b, slope = (random.normal(size=s) for s in ((5, 2), (2, 4), (5, 4)))
    slopes = slope @ b.T, a.T @ slope
    after = toys.balance(a - 0.1 * slopes[0], b - 0.1 * slopes[1])
    np.testing.assert_allclose(
        after - toys.balance(a, b), toys.balance_change(*slopes, 0.1), atol=1e-12
    )
