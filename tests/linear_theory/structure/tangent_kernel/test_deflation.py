"""Linearised deflation: the maps against finite differences, the formulas against a joint solve."""

import jax
import numpy as np
import pytest

from linear_theory.structure.tangent_kernel import deflation as td
from linear_theory.structure.tangent_kernel.claims_deflation import draw_workers


@pytest.fixture(scope="module")
def workers():
    """Four of many, those on which descent is quickest."""
    with jax.enable_x64(True):
        drawn = draw_workers(jax.random.key(3), 64)
    best = np.argsort(np.linalg.cond(drawn.maps).max(axis=-1))[:4]
    return type(drawn)(*(leaf[best] for leaf in drawn))


def test_maps_are_derivatives_of_the_network():
    rng = np.random.default_rng(0)
    weight, outer = rng.normal(size=(4, 5)), rng.normal(size=(3, 4))
    rows, inputs, b = rng.normal(size=(2, 5)), rng.normal(size=(5, 6)), rng.normal(size=(2, 4))

    def network(size):
        return (outer @ np.tanh((weight + size * b.T @ rows) @ inputs)).ravel()

    with jax.enable_x64(True):
        maps = np.asarray(td.component_maps(weight, outer, rows, inputs))
    slope = (network(1e-6) - network(-1e-6)) / 2e-6
    np.testing.assert_allclose(np.einsum("kdm,km->d", maps, b), slope, atol=1e-7)


def test_in_turn_leaves_residuals_that_are_orthogonal(workers):
    b = td.in_turn(workers.maps, workers.target)
    left = workers.target
    for k in range(b.shape[1]):
        left = left - np.einsum("tdm,tm->td", workers.maps[:, k], b[:, k])
        np.testing.assert_allclose(np.einsum("tdm,td->tm", workers.maps[:, k], left), 0, atol=1e-10)


def test_descent_goes_where_exact_workers_are(workers):
    path = td.descend_together(workers.maps, workers.target, workers.step_sizes, 20_000)
    np.testing.assert_allclose(path[-1], td.in_turn(workers.maps, workers.target), atol=1e-6)


def test_a_frozen_error_cascades_to_the_end_of_the_descent(workers):
    path = td.descend_together(workers.maps, workers.target, workers.step_sizes, 20_000, stop=3)
    exact = td.in_turn(workers.maps, workers.target)
    moved = td.cascade(workers.maps, path[-1][:, 0] - exact[:, 0])
    np.testing.assert_allclose(path[-1] - exact, moved, atol=1e-6)
    assert np.abs(moved[:, 1:]).max() > 1e-2
