import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import subspace_angles

from linear_theory.adaptation.alignment import linearised as li
from linear_theory.adaptation.alignment import theory as al
from linear_theory.adaptation.linear_teacher import draw_teachers, follow, gradient_step


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_angles_are_principal_angles():
    random = np.random.default_rng(0)
    for size in (1.0, 1e-9):
        left = np.linalg.qr(random.normal(size=(7, 3)))[0]
        other = np.linalg.qr(left + size * random.normal(size=(7, 3)))[0]
        expected = np.sin(subspace_angles(left, other)[0])
        np.testing.assert_allclose(al.angle(left, other), expected, rtol=1e-6)
        np.testing.assert_allclose(al.angle(other, left), expected, rtol=1e-6)
        np.testing.assert_allclose(al.angle(*map(jnp.asarray, (left, other))), expected, rtol=1e-6)


def test_leakage():
    random = np.random.default_rng(1)
    right = np.linalg.qr(random.normal(size=(6, 2)))[0]
    inside = random.normal(size=(3, 2)) @ right.T
    assert al.row_leakage(right, inside) < 1e-15
    outside = random.normal(size=(3, 6))
    outside -= outside @ right @ right.T
    mixed = 3 * inside / np.linalg.norm(inside) + 4 * outside / np.linalg.norm(outside)
    np.testing.assert_allclose(al.row_leakage(right, mixed), 0.8)


def test_the_floor_by_simulation():
    random = np.random.default_rng(2)
    squares = []
    for _ in range(2000):
        x = random.normal(size=(20, 5))
        image = x.T @ x[:, :2]
        squares.append(np.sum((image[2:] @ np.linalg.inv(image[:2])) ** 2))
    expected = al.mean_squared_tangent(2, 5, 20)
    assert np.mean(squares) == pytest.approx(expected, rel=0.1)
    with pytest.raises(ValueError, match="samples is 3; allowed are integers > rank"):
        al.mean_squared_tangent(2, 5, 3)


def test_exponents():
    np.testing.assert_allclose(al.growth_ratio(np.array([3.0, 2.0, 1.0]), 1.0), 2.0)
    np.testing.assert_allclose(al.growth_ratio(np.array([3.0, 1.0]), 1e-9), 3.0, rtol=1e-6)
    np.testing.assert_allclose(al.best_angle_exponent(1.0), 2 / 3)


def test_the_linearised_dynamics_are_powers_of_their_matrix():
    random = np.random.default_rng(3)
    gradient, a = random.normal(size=(5, 4)), random.normal(size=(5, 2))
    rate_a, rate_b, steps = 0.05, 0.2, 7
    matrix = np.block([[np.eye(5), rate_a * gradient], [rate_b * gradient.T, np.eye(4)]])
    state = np.linalg.matrix_power(matrix, steps) @ np.concatenate([a, np.zeros((4, 2))])
    first, second = li.linearised_factors(gradient, a, rate_a, rate_b, steps)
    np.testing.assert_allclose(np.concatenate([first, second.T]), state, rtol=1e-10)


def test_the_linearisation_bound_by_hand_and_its_sharpness():
    # y: 1, 1.5 + 0.25, ...; errors are y_t - 1.5^t.
    y = 1.0
    expected = [0.0]
    for step in range(1, 4):
        y = 1.5 * y + 0.25 * y**3 / 2
        expected.append(y - 1.5**step)
    bound = li.linearisation_bound(1.0, 1.0, 1.0, 0.5, 3)
    np.testing.assert_allclose(bound, expected)
    # A balanced scalar start attains the first error.
    size = 0.1
    a = b = np.full((1, 1, 1), size)
    teacher = draw_teachers(jax.random.key(0), 1, d=1, k=1, samples=None, rank=1)
    teacher = teacher._replace(delta=np.ones((1, 1, 1)))
    after = follow(gradient_step(teacher, 0.5, 0.5), a, b, 1)
    error = np.sqrt(sum(((1.5 * size - w[0, 1]) ** 2).sum() for w in after) / 0.5)
    bound = li.linearisation_bound(np.sqrt(2 * size**2 / 0.5), 1.0, 1.0, 0.5, 1)
    np.testing.assert_allclose(error, bound[1])


def test_the_validity_time_solves_its_equation():
    start, slope, curvature, rate_a, rate_b, accuracy = 1e-3, 0.7, 1.9, 0.1, 0.4, 0.1
    time = li.validity_time(start, slope, curvature, rate_a, rate_b, accuracy)
    growth = (1 + 0.2 * slope) ** (2 * float(time))
    left = (1 + accuracy) ** 3 * curvature * 2 * start**2 * growth
    assert left == pytest.approx(4 * accuracy * slope)


def test_two_steps_are_one_and_another_start():
    teacher = draw_teachers(jax.random.key(4), 3)
    b = np.zeros((3, 3, 8))
    start, step = al.equal_step_start(teacher.start, np.full(3, 0.02), np.full(3, 0.32))
    np.testing.assert_allclose(step, 0.08)
    np.testing.assert_allclose(start, 2 * teacher.start)
    teacher = teacher._replace(start=0.1 * teacher.start)
    one = follow(gradient_step(teacher, 0.02, 0.32), teacher.start, b, 9)
    other = follow(gradient_step(teacher, 0.08, 0.08), np.asarray(0.1 * start), b, 9)
    np.testing.assert_allclose(one[0] @ one[1], other[0] @ other[1], atol=1e-12)
