"""Whitening of a summary: which directions count, and where the energy of the others goes."""

import numpy as np
import pytest

from deflation.problem import reduction

EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize(("share", "rank"), [(0.5, 2), (1.5, 3), (10.0, 3)])
def test_directions_count_from_the_rounding_of_the_largest(share, rank):
    """The cutoff is max(k, d) eps s_1: what is smaller may be rounding, what is larger is data."""
    s = np.array([2.0, 1.0, share * 3 * EPS * 2.0])
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    targets = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    target, whitener, root, lost, kept = reduction.whiten(np, np.diag(s) @ frame, targets, EPS)
    assert kept == rank
    assert np.linalg.matrix_rank(whitener @ root, tol=1e-3) == rank
    np.testing.assert_allclose(lost, np.linalg.norm(targets[:, rank:]), atol=1e-12)
    np.testing.assert_allclose(np.sum(target**2) + lost**2, np.sum(targets**2))
