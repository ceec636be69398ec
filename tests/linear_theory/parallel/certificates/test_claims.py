"""Runs whose bounds were once rounded down, by up to one unit of float32."""

import jax
import numpy as np
import pytest

from linear_theory.parallel.certificates.claims import draw_runs, end


@pytest.mark.parametrize(("seed", "trial"), [(1012, 81), (1027, 29), (1031, 64), (1036, 71)])
def test_bounds_are_not_rounded_down(seed, trial):
    with jax.enable_x64(True):
        ended = end(*draw_runs(jax.random.key(seed), 128)[trial])
    assert np.all(ended.errors <= ended.bounds) and ended.error_of_sum <= ended.bound_of_sum
