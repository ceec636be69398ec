"""Noise floors by hand, against derivatives, and their refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.parallel.generalization import claims
from linear_theory.parallel.generalization import instances as noisy_samples
from linear_theory.parallel.generalization import theory as generalization


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_decomposition_adds_up():
    got = generalization.decomposition(
        np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([3.0, 1.0]), 4.0
    )
    np.testing.assert_array_equal(got, [10.0, 5.0])


def test_noise_floor_of_the_reference_setting():
    """The published table: standard deviations against both orders."""
    values, levels = jnp.array([3.0, 2.0, 1.2]), np.array([0.01, 0.03, 0.06, 0.1, 0.2])
    first = generalization.noise_floor(24, 30, 3, levels)
    np.testing.assert_allclose(first, [0.0153, 0.1377, 0.5508, 1.53, 6.12], rtol=1e-12)
    second = generalization.noise_floor_second_order(24, 30, values, levels)
    np.testing.assert_allclose(second, [0.015318, 0.13915, 0.5741, 1.7096, 8.993], rtol=1e-4)


def test_full_rank_noise_is_all_of_it():
    assert generalization.degrees_of_freedom(4, 6, 4) == 24
    assert float(generalization.noise_floor_second_order(4, 6, jnp.ones(4), 0.5)) == 24 / 4


def test_component_noise_floor_is_the_norm_of_the_derivative():
    m, d, step = 3, 4, 1e-6
    target = np.zeros((m, d))
    # No component depends on how the zero singular values split; a tie would confuse the SVD.
    target[np.arange(m), np.arange(m)] = 2.0, 1.2, 1e-4
    units = step * np.eye(m * d).reshape(-1, m, d)

    def components(matrices):
        u, s, vt = np.linalg.svd(matrices, full_matrices=False)
        return np.einsum("tmk,tk,tkd->tkmd", u, s, vt)

    slope = (components(target + units) - components(target - units)) / (2 * step)
    expected = generalization.component_noise_floor(m, d, jnp.array([2.0, 1.2]), 1.0)
    np.testing.assert_allclose(np.sum(slope**2, axis=(0, 2, 3))[:2], expected, rtol=1e-4)


def test_component_noise_floor_at_a_tie():
    got = generalization.component_noise_floor(3, 3, jnp.array([1.0, 1.0, 0.5]), 1.0)
    assert np.isinf(got[:2]).all() and np.isfinite(got[2])


def test_map_noise_floor_by_hand():
    assert float(generalization.map_noise_floor(5, 4, 20, 2, 0.1)) == pytest.approx(
        0.01 * 2 * (4 / 15 + 3 / 17)
    )
    # Of full rank it is least squares: m d columns' worth of noise, inverse-Wishart.
    assert float(generalization.map_noise_floor(3, 4, 20, 3, 1.0)) == pytest.approx(3 * 4 / 15)


@pytest.mark.parametrize("rank", [0, 5])
def test_rank_outside_its_range(rank):
    with pytest.raises(ValueError, match=f"rank is {rank}; allowed are integers from 1 to 4"):
        generalization.degrees_of_freedom(4, 6, rank)


def test_too_few_samples():
    with pytest.raises(ValueError, match="samples is 5; allowed are integers > columns"):
        generalization.map_noise_floor(4, 4, 5, 2, 0.1)


def truncated(matrix, rank):
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


# In the average the claims generalization.* hold them.
@pytest.mark.thorough
def test_the_measured_floors_are_those_of_truncated_targets():
    """Sample by sample: an average over few hides percents."""
    rank, levels = len(noisy_samples.VALUES), np.array([0.02, 0.1])
    sample = noisy_samples.draw_sample(jax.random.key(6), 2, (8, 10, 14), levels)
    of_outputs, of_maps = np.zeros((2, 2, 2))
    components = np.zeros((2, 2, rank))
    for trial, (x, truth, noise) in enumerate(
        zip(sample.x, sample.truth, sample.noise, strict=True)
    ):
        clean, projector = truth @ x, np.linalg.pinv(x) @ x
        for at, level in enumerate(levels):
            target = (clean + level * noise) @ projector
            fit = truncated(target, rank)
            of_outputs[trial, at] = np.sum((fit - clean) ** 2)
            of_maps[trial, at] = np.sum((fit @ np.linalg.pinv(x) - truth) ** 2)
            for k in range(rank):
                single = truncated(target, k + 1) - truncated(target, k)
                exact = truncated(clean, k + 1) - truncated(clean, k)
                components[trial, at, k] = np.sum((single - exact) ** 2)
    np.testing.assert_allclose(claims._floor(sample).measured, of_outputs, rtol=1e-8)
    np.testing.assert_allclose(claims._component_floor(sample).measured, components, rtol=1e-8)
    np.testing.assert_allclose(claims._map_floor(sample, True).measured, of_maps, rtol=1e-8)
