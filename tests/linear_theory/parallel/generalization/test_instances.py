"""Instances of the noise-floor claims: where the singular values are, and the fits."""

import jax
import numpy as np
import pytest

from linear_theory.parallel.generalization.instances import VALUES, draw_sample, fits

SIZES = (5, 4, 11)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_singular_values_of_the_output_or_of_the_map():
    key = jax.random.key(0)
    sample = draw_sample(key, 2, SIZES, (0.1,))
    of_output = np.linalg.svd(sample.truth @ sample.x, compute_uv=False)[:, :3]
    np.testing.assert_allclose(of_output, np.tile(VALUES, (2, 1)))
    of_map = np.linalg.svd(draw_sample(key, 2, SIZES, (), of_map=True).truth, compute_uv=False)
    np.testing.assert_allclose(of_map[:, :3], np.tile(VALUES / 4, (2, 1)))


def test_the_fit_of_clean_targets_is_the_map_and_of_noisy_ones_is_best():
    sample = draw_sample(jax.random.key(1), 2, SIZES, (0.1, 0.2))
    b, a = fits(sample, 3)
    assert b.shape == (2, 3, 3, 5) and a.shape == (2, 3, 3, 4)
    maps = np.swapaxes(b, 2, 3) @ a
    np.testing.assert_allclose(maps[:, 0], sample.truth, atol=1e-12)
    noisy = (sample.truth @ sample.x + 0.2 * sample.noise)[1]
    q = np.linalg.qr(sample.x[1].T)[0]
    u, s, vt = np.linalg.svd(noisy @ q, full_matrices=False)
    np.testing.assert_allclose(
        maps[1, 2] @ sample.x[1], (u[:, :3] * s[:3]) @ vt[:3] @ q.T, atol=1e-12
    )
