"""The share of draws within a radius: each radius is compared with its own probability."""

import numpy as np
import pytest

from linear_theory.sequential.cascade import claims_noise as noise_claims
from linear_theory.sequential.cascade import recovery


@pytest.mark.parametrize("radius", [recovery.noise_radius, recovery.noise_radius_frobenius])
def test_every_radius_is_that_of_its_own_miss(radius):
    misses = np.array(noise_claims.MISSES)
    edges = np.asarray(radius(noise_claims.NOISE_SHAPE[1], noise_claims.NOISE_INPUTS, 1.0, misses))
    assert (np.diff(edges) > 0).all()
    # One draw just within each radius, and one outside of all.
    norms = np.append(edges * (1 - 1e-6), 2 * edges[-1])[None]
    measured, bound, *_ = noise_claims._coverage(norms, radius)
    np.testing.assert_allclose(measured, [[0.2, 0.4, 0.6, 0.8]])
    np.testing.assert_allclose(bound, [1 - misses])
