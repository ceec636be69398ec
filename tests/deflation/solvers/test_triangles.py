"""Inverses of triangles: those of LAPACK, for any size, and nothing above the diagonal is read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation.solvers.triangles import lower_inverse
from tests.deflation.problems import ROUNDING, precision


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([1, 2, 3, 8, 21]), st.sampled_from(list(ROUNDING)), st.integers(0, 10**6))
def test_equals_the_inverse_of_lapack(r, dtype, seed):
    g = np.random.default_rng(seed)
    with precision(dtype):
        full = jnp.asarray(g.uniform(-1, 1, (r, r)) / r + np.diag(g.uniform(0.5, 2, r)), dtype)
        found = jax.jit(lower_inverse)(full)
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found, np.linalg.inv(np.tril(full)), rtol=0, atol=50 * ROUNDING[dtype]
        )
        np.testing.assert_array_equal(np.triu(found, 1), 0)


@pytest.mark.parametrize("r", [5, 64])
def test_no_worse_than_substitution_where_entries_of_the_inverse_grow(r):
    """-1 below a unit diagonal: the inverse has entries up to 2^(r - 2), all of them exact."""
    triangle = np.tril(-np.ones((r, r), np.float32), -1) + np.eye(r, dtype=np.float32)
    found = np.asarray(jax.jit(lower_inverse)(triangle), np.float64)
    wanted = np.array(
        [[2.0 ** max(i - j - 1, 0) if j <= i else 0.0 for j in range(r)] for i in range(r)]
    )
    np.testing.assert_array_equal(found, wanted)
