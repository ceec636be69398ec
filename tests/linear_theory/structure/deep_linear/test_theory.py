import jax
import numpy as np
import pytest
from scipy.optimize import approx_fprime

from linear_theory.instances.random_matrices import orthogonal, transpose, with_values
from linear_theory.structure.deep_linear import theory as deep


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def start(depth, dim, seed=0, eps=0.8):
    rng = np.random.default_rng(seed)
    return tuple(eps * orthogonal(rng, dim, dim) for _ in range(depth))


def test_a_step_follows_the_difference_quotient():
    rng = np.random.default_rng(1)
    layers, target = start(3, 2), rng.standard_normal((2, 2))

    def flat(vector):
        return float(deep.objective(tuple(vector.reshape(3, 2, 2)), target, 0.3))

    slope = approx_fprime(np.ravel(layers), flat, 1e-7).reshape(3, 2, 2)
    path = deep.descend(layers, target, 0.1, 0.3, steps=1)
    for layer, moved, gradient in zip(layers, path, slope, strict=True):
        np.testing.assert_allclose(moved[0], layer)
        np.testing.assert_allclose(moved[1], layer - 0.1 * gradient, atol=1e-6)


def test_batches_are_independent():
    one, two = start(2, 3, 1), start(2, 3, 2)
    both = tuple(np.stack(pair) for pair in zip(one, two, strict=True))
    target = np.eye(3)
    steps = np.array([0.1, 0.2])
    together = deep.descend(both, np.stack([target, target]), steps, np.zeros(2), steps=3)
    alone = deep.descend(two, target, 0.2, 0.0, steps=3)
    np.testing.assert_allclose(together[1][:, 1], alone[1], atol=1e-14)


def test_silent_directions_are_unseen_by_the_first_gradient():
    layers = start(3, 7)
    target = with_values(np.random.default_rng(3), np.array([2.0, 1.0]), 7, 7)
    bases = deep.silent_bases(layers, target, 2)
    np.testing.assert_allclose(target @ bases[0], 0, atol=1e-14)
    np.testing.assert_allclose(transpose(target) @ bases[-1], 0, atol=1e-14)
    for basis in bases:
        np.testing.assert_allclose(transpose(basis) @ basis, np.eye(3), atol=1e-14)


def test_a_rank_without_silent_directions_is_refused():
    with pytest.raises(ValueError, match="rank is 2; allowed are integers below 4/2"):
        deep.silent_bases(start(2, 4), np.eye(4), 2)
    with pytest.raises(ValueError, match="target has 2 rows"):
        deep.silent_bases_wide(start(2, 4), np.eye(4)[:2])


def test_complement():
    basis = orthogonal(np.random.default_rng(0), 4, 6, 2)
    rest = deep.complement(basis)
    assert rest.shape == (4, 6, 4)
    np.testing.assert_allclose(transpose(rest) @ basis, 0, atol=1e-14)


def test_compressed_start_rebuilds_the_product():
    layers = start(3, 7)
    target = with_values(np.random.default_rng(3), np.array([2.0, 1.0]), 7, 7)
    bases = deep.silent_bases(layers, target, 2)
    factors, left, right = deep.compressed_start(layers, bases)
    rest = 0.8**3 * bases[-1] @ transpose(bases[0])
    np.testing.assert_allclose(
        left @ deep.product(factors) @ transpose(right) + rest, deep.product(layers), atol=1e-14
    )


def test_active_directions_of_a_small_start():
    layers = start(2, 7, eps=0.05)
    target = with_values(np.random.default_rng(3), np.array([2.0, 1.0]), 7, 7)
    active = deep.active_directions(layers, target, 2)
    silent = deep.silent_bases(layers, target, 2)[0]
    np.testing.assert_allclose(transpose(active) @ silent, 0, atol=1e-12)
