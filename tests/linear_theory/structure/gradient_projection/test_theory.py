import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linear_theory.instances.random_matrices import orthogonal
from linear_theory.structure.gradient_projection import theory as gp


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss(weights, batch):
    return jnp.sum((weights[0] @ batch - 1) ** 2)


def test_adam_is_adam():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((3, 2, 4))
    weights, bases = (jnp.zeros((5, 4)),), (jnp.zeros((5, 2)),)
    state, reference = gp.no_moments(weights, bases), optax.scale_by_adam()
    other = reference.init((jnp.zeros((2, 4)),))
    for gradient in gradients:
        state, direction = gp.adam_rule(state, (gradient,))
        expected, other = reference.update((gradient,), other)
        np.testing.assert_allclose(direction[0], expected[0], rtol=1e-7)


def test_bases_have_a_sign_of_their_own():
    gradient = np.random.default_rng(1).standard_normal((3, 5, 4))
    (basis,), (mirrored,) = gp.gradient_bases((gradient,), 2), gp.gradient_bases((-gradient,), 2)
    np.testing.assert_allclose(basis, mirrored, atol=1e-12)
    np.testing.assert_allclose(basis.mT @ basis, np.broadcast_to(np.eye(2), (3, 2, 2)), atol=1e-12)
    values = np.linalg.svd(gradient, compute_uv=False)
    kept = np.linalg.norm(basis.mT @ gradient, axis=(1, 2))
    np.testing.assert_allclose(kept, np.linalg.norm(values[:, :2], axis=1))


def test_a_full_basis_is_plain_descent():
    rng = np.random.default_rng(2)
    weights, batches = (rng.standard_normal((3, 4)),), rng.standard_normal((5, 4, 6))
    bases = (orthogonal(rng, 3, 3),)
    moments = gp.no_moments(weights, bases)
    (end,), _ = gp.galore_phase(loss, gp.descent_rule, weights, moments, bases, batches, 0.01)
    plain = weights[0]
    for batch in batches:
        plain = plain - 0.01 * jax.grad(loss)((plain,), batch)[0]
    np.testing.assert_allclose(end, plain, atol=1e-12)


def test_nothing_moves_outside_the_basis():
    rng = np.random.default_rng(3)
    weights, batches = (rng.standard_normal((3, 4)),), rng.standard_normal((5, 4, 6))
    bases = (orthogonal(rng, 3, 1),)
    moments = gp.no_moments(weights, bases)
    for phase in (gp.galore_phase, gp.relora_phase):
        (end,), _ = phase(loss, gp.adam_rule, weights, moments, bases, batches, 0.01)
        moved = end - weights[0]
        np.testing.assert_allclose(moved - bases[0] @ bases[0].T @ moved, 0, atol=1e-12)
        assert np.abs(moved).max() > 1e-3
