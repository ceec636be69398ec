import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.adaptation.displacement import theory as dp
from linear_theory.adaptation.spectral_initialisation import claims
from linear_theory.adaptation.spectral_initialisation import theory as si
from linear_theory.adaptation.subtracted_start import theory as ss


def test_factors_are_balanced_halves_of_the_best_approximation():
    gradient = np.random.default_rng(0).normal(size=(3, 6, 5))
    a, b = si.spectral_factors(gradient, 2, gamma=2.0)
    np.testing.assert_allclose(a.mT @ a, b @ b.mT, atol=1e-12)
    left, values, right = np.linalg.svd(gradient, full_matrices=False)
    best = (left[..., :2] * values[:, None, :2]) @ right[:, :2]
    np.testing.assert_allclose(a @ b, 2 * best, atol=1e-12)
    single = si.spectral_factors(jnp.asarray(gradient[0]), 2, 2.0)
    np.testing.assert_allclose(single[0] @ single[1], 2 * best[0], atol=1e-5)


@pytest.mark.parametrize("rank", [0, 6])
def test_a_rank_outside_the_gradient_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank is {rank}; allowed are integers from 1"):
        si.spectral_factors(np.ones((6, 5)), rank)
    with pytest.raises(ValueError, match=f"rank is {rank}; allowed are integers from 1"):
        dp.lora_ga_factors(np.ones((6, 5)), rank, 1.0)


def test_the_mean_error_by_simulation():
    random = np.random.default_rng(1)
    x = random.normal(size=(4000, 10, 3))
    gram = x.mT @ x / 10
    squares = np.sum((gram - np.eye(3))[..., 0] ** 2, axis=1)  # Delta = e_1
    assert squares.mean() == pytest.approx(si.mean_error(3, 10), rel=0.05)
    step = si.best_fixed_step(3, 10)
    risks = [np.sum((s * gram[..., 0] - np.eye(3)[0]) ** 2, axis=1).mean() for s in (step, 1.0)]
    assert risks[0] == pytest.approx(0.4 / 1.4, rel=0.05) and risks[0] < risks[1]


def test_the_best_step_beats_a_grid():
    random = np.random.default_rng(2)
    gradient, delta = random.normal(size=(2, 4, 3))
    best = si.best_step(gradient, delta)
    grid = best + np.linspace(-1, 1, 21)
    risks = [np.linalg.norm(eta * gradient - delta) for eta in grid]
    assert np.argmin(risks) == 10


def test_the_best_product_is_a_constrained_minimum():
    random = np.random.default_rng(3)
    x = random.normal(size=(9, 4))
    gram, target = x.T @ x / 9, random.normal(size=(4, 3))
    best = ss.best_product(gram, target, 1)
    assert np.linalg.matrix_rank(best, tol=1e-9) == 1

    def loss(product):
        return np.sum((x @ (product - target)) ** 2) / 18

    assert loss(best) == pytest.approx(float(ss.training_floor(gram, target, 1)))
    # Alternating least squares from anywhere comes to the same value.
    a = random.normal(size=(4, 1))
    for _ in range(300):
        b = np.linalg.lstsq(x @ a, x @ target, rcond=None)[0]
        a = target @ b.T / (b @ b.T)
    assert loss(a @ b) == pytest.approx(loss(best))


def test_the_saddle():
    assert float(ss.saddle_risk(jnp.array([2.0, 0.5]), 1.0, 1.5)) == pytest.approx(0.125)


def test_displacements_by_finite_steps():
    random = np.random.default_rng(4)
    gradient, a, b = (random.normal(size=s) for s in ((5, 4), (5, 2), (2, 4)))
    eta, scale = 1e-7, 1.5
    moved = scale * (
        (a - eta * scale * gradient @ b.T) @ (b - eta * scale * a.T @ gradient) - a @ b
    )
    stated = dp.first_displacement(gradient, a, b, scale)
    np.testing.assert_allclose(moved / eta, stated, rtol=1e-4, atol=1e-4)
    a, b = dp.lora_ga_factors(gradient, 2, 1.0)
    np.testing.assert_allclose(dp.first_displacement(gradient, a, b, 1.0), -gradient, atol=1e-12)


def test_the_measured_risks_are_those_of_the_update():
    """Sample by sample: an average hides 3 %. With r >= r* the start is S Delta itself."""
    with jax.enable_x64(True):
        teacher = claims._draw(jax.random.key(5), 4)
    for gram, delta, start, step in zip(
        teacher.gram,
        teacher.delta,
        claims._mean_error(teacher).measured,
        claims._risk_of_fixed(teacher).measured,
        strict=True,
    ):
        size = np.sum(delta**2)
        np.testing.assert_allclose(start, np.sum((gram @ delta - delta) ** 2) / size, rtol=1e-10)
        eta = si.best_fixed_step(claims.D, claims.FEW)
        np.testing.assert_allclose(step, np.sum((eta * gram @ delta - delta) ** 2) / size)
