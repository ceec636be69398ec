"""Contractions of one round: by hand, and against automatic second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.parallel.self_correction import contraction


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_alternating_rate_by_hand():
    values = jnp.array([4.0, 3.0, 0.0])
    np.testing.assert_allclose(contraction.alternating_rate(values), [9 / 16, 0.0, 1.0])
    np.testing.assert_allclose(contraction.alternating_rate(values, sweeps=2)[0], (9 / 16) ** 2)
    with pytest.raises(ValueError, match="singular_values has shape"):
        contraction.alternating_rate(jnp.zeros(0))


def test_alternating_contraction_by_hand():
    got = contraction.alternating_contraction(jnp.array([0.75, 0.5]), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(got, [1.25 * 9 / 16, np.inf])


def test_descent_eigenvalues_by_hand():
    got = np.asarray(contraction.descent_eigenvalues(jnp.array([5.0, 3.0, 1.0])))
    np.testing.assert_array_equal(np.sort(got[0]), [2, 4, 6, 8, 10, 10])
    np.testing.assert_array_equal(np.sort(got[1]), [2, 3, 3, 4, 6, 6])
    np.testing.assert_array_equal(np.sort(got[2]), [1, 1, 1, 1, 2, 2])


def test_descent_rate_and_best_step():
    values = jnp.array([5.0, 3.0, 1.0])
    step = contraction.best_descent_step(values)
    np.testing.assert_allclose(step, [2 / 12, 2 / 8, 2 / 3])
    rate = contraction.descent_rate(contraction.descent_eigenvalues(values), step, steps=3)
    np.testing.assert_allclose(rate, [(8 / 12) ** 3, (4 / 8) ** 3, (1 / 3) ** 3])
    for other in (0.9, 1.1):
        worse = contraction.descent_rate(contraction.descent_eigenvalues(values), other * step, 3)
        assert (worse > rate).all()


def random_worker(seed, m=4, d=3, n=7):
    numbers = np.random.default_rng(seed)
    return tuple(numbers.normal(size=size) for size in ((d, n), (m, n), m, d))


def test_hessian_is_the_second_derivative():
    x, y, b, a = random_worker(0)

    def loss(factors):
        return jnp.sum((y - jnp.outer(factors[:4], factors[4:] @ x)) ** 2) / 2

    expected = jax.jit(jax.hessian(loss))(np.concatenate([b, a]))
    got = contraction.descent_hessian(b, a, y @ x.T, x @ x.T)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_hessian_at_a_balanced_optimum_has_the_stated_spectrum_and_one_gauge_mode():
    target = random_worker(1, m=4, d=4)[1][:, :4]
    u, s, vt = np.linalg.svd(target)
    root = np.sqrt(s[0])
    hessian = contraction.descent_hessian(root * u[:, 0], root * vt[0], target, np.eye(4))
    gauge = np.concatenate([u[:, 0], -vt[0]])
    np.testing.assert_allclose(hessian @ gauge, 0, atol=1e-12)
    expected = np.unique(np.round(contraction.descent_eigenvalues(s)[0], 9))
    np.testing.assert_allclose(contraction.non_gauge(hessian), expected, atol=1e-8)


def test_non_gauge_leaves_out_the_smallest_magnitude_of_each():
    batch = jnp.stack(
        [jnp.diag(jnp.array([3.0, -1e-9, 2.0])), jnp.diag(jnp.array([1e-9, 5.0, 4.0]))]
    )
    np.testing.assert_allclose(contraction.non_gauge(batch), [[2.0, 3.0], [4.0, 5.0]])
