import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.structure.tangent_kernel import theory as tk


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_linearisation_is_exact_for_linear_models_and_tangent_for_others():
    rng = np.random.default_rng(0)
    matrix, start, other = (rng.standard_normal(shape) for shape in ((3, 4), 4, 4))
    linear = tk.linearised(lambda x: matrix @ x, start)
    np.testing.assert_allclose(linear(other), matrix @ other)

    def curved(x):
        return jnp.tanh(matrix @ x)

    near = start + 1e-4 * other
    gap = np.abs(curved(near) - tk.linearised(curved, start)(near)).max()
    assert 0 < gap < 1e-6


def test_kernel_is_that_of_the_jacobian():
    rng = np.random.default_rng(1)
    adapter, inputs, weight = (rng.standard_normal(shape) for shape in ((2, 4), (4, 5), (3, 4)))

    def model(theta):
        return (weight + 1.5 * theta[0] @ theta[1]) @ inputs

    jacobian = jax.jacobian(model)((np.zeros((3, 2)), adapter))
    flat = np.concatenate([np.asarray(part).reshape(15, -1) for part in jacobian], axis=1)
    kernel = tk.adapter_kernel(adapter, inputs, 1.5)
    np.testing.assert_allclose(flat @ flat.T, np.kron(np.eye(3), kernel), atol=1e-12)


def test_descent_of_a_linear_model_follows_its_kernel():
    rng = np.random.default_rng(2)
    inputs, targets = rng.standard_normal((4, 5)), rng.standard_normal((3, 5))
    end = tk.descend_model(lambda w: w @ inputs, np.zeros((3, 4)), targets, 0.05, 7)
    residual = tk.kernel_descent(-targets, inputs.T @ inputs, 0.05, 7)
    np.testing.assert_allclose(end - targets, residual, atol=1e-12)
