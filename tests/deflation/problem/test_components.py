"""The algebra of rank-one maps equals the dense one."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import Components
from deflation.problem.components import (
    balanced,
    canonical,
    distances,
    generic,
    normalise,
    norms,
)
from tests.deflation.problems import ROUNDING, D, M, R, close, maps, precision

DTYPES = ("float32", "float64")


def draw(seed, dtype="float64", scale=1.0) -> Components:
    g = np.random.default_rng(seed)
    b, a = scale * g.normal(size=(R, M)), g.normal(size=(R, D))
    return Components(jnp.asarray(b, dtype), jnp.asarray(a, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_matrix_predict_and_prefix(dtype):
    with precision(dtype):
        components = draw(0, dtype)
        dense = maps(components)
        close(components.matrix(), dense.sum(0), dtype)
        x = np.random.default_rng(1).normal(size=(D, 4))
        close(components.predict(jnp.asarray(x, dtype)), dense.sum(0) @ x, dtype)
        for rank in range(1, R + 1):
            close(components.prefix(rank).matrix(), dense[:rank].sum(0), dtype)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(-12, 0), st.booleans())
def test_distance_has_no_cancellation(seed, digits, flipped):
    """A difference of 1e-12 between maps of size 1 is measured to several digits, also when one
    is written with the other sign or another split of its scale."""
    with precision("float64"):
        left = draw(seed)
        step = 10.0**digits
        move = draw(seed + 1)
        right = Components(left.b + step * move.b, left.a + step * move.a)
        wanted = np.linalg.norm(
            step * maps(Components(move.b, left.a))
            + step * maps(Components(left.b, move.a))
            + step**2 * maps(move),
            axis=(1, 2),
        )
        factor = -3.0 if flipped else 2.0
        right = Components(right.b * factor, right.a / factor)
        # b and a themselves are rounded: 1e-16 of size 1 in a difference of `step`.
        np.testing.assert_allclose(
            distances(left, right), wanted, rtol=1e-10, atol=1e-14 * (1 + np.max(norms(left)))
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_and_distances_are_dense_ones(dtype):
    with precision(dtype):
        left, right = draw(0, dtype), draw(5, dtype)
        close(norms(left), np.linalg.norm(maps(left), axis=(1, 2)), dtype)
        wanted = np.linalg.norm(maps(left) - maps(right), axis=(1, 2))
        close(distances(left, right), wanted, dtype)
        nothing = Components(jnp.zeros_like(left.b), jnp.zeros_like(left.a))
        close(distances(left, nothing), norms(left), dtype)
        close(distances(nothing, left), norms(left), dtype)
        np.testing.assert_array_equal(distances(nothing, nothing), np.zeros(R))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([1e-8, 1.0, 1e8]))
def test_normal_forms_keep_the_maps(seed, scale):
    with precision("float64"):
        components = draw(seed, scale=scale)
        for form in (canonical, balanced):
            close(maps(form(components)), maps(components), "float64")
        b, a = canonical(components)
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-14)
        peak = np.argmax(np.abs(b), axis=1)
        assert np.all(np.asarray(b)[np.arange(R), peak] > 0)
        b, a = balanced(components)
        sizes = np.linalg.norm(b, axis=1), np.linalg.norm(a, axis=1)
        np.testing.assert_allclose(*sizes, rtol=1e-13)


def test_zero_components_stay_zero():
    zero = Components(jnp.zeros((R, M)), jnp.zeros((R, D)))
    half = Components(jnp.ones((R, M)), jnp.zeros((R, D)))
    for form in (canonical, balanced):
        for components in (zero, half):
            assert np.all(np.isfinite(np.concatenate(form(components), axis=1)))
            np.testing.assert_array_equal(form(components).matrix(), np.zeros((M, D)))
    np.testing.assert_array_equal(balanced(half).b, half.b)


@pytest.mark.parametrize("scale", [1e-24, 1e-18, 1.0, 1e18, 1e24])
def test_unit_rows_at_any_scale(scale):
    """Squares of single precision numbers overflow from 1e19 on and vanish below 1e-19."""
    rows = normalise(jnp.full((1, 4), scale, jnp.float32))
    np.testing.assert_allclose(rows, 0.5, rtol=10 * ROUNDING["float32"])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([(3, 4), (2, 1)]), st.integers(0, 10**6))
def test_the_sign_of_a_canonical_component_is_that_of_its_first_largest_entry(shape, seed):
    """Small integers, so that largest entries of both signs are common."""
    r, m = shape
    g = np.random.default_rng(seed)
    b, a = g.integers(-2, 3, (r, m)).astype(np.float32), np.ones((r, 1), np.float32)
    peak = np.argmax(np.abs(b), axis=1)
    sign = np.where(b[np.arange(r), peak] < 0, -1, 1)[:, None]
    got = canonical(Components(b, a))
    np.testing.assert_array_equal(got.b, sign * b)
    np.testing.assert_array_equal(got.a, sign * a)


def test_generic_numbers_have_no_pattern():
    rows = np.asarray(generic((8, 4096), jnp.float32), np.float64)
    assert np.abs(rows).max() <= 1 and abs(rows.mean()) < 0.01
    assert abs(rows.var() - 1 / 3) < 0.01
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    # Neither near each other, nor a smooth or periodic vector: five deviations of random ones.
    spectrum = np.abs(np.fft.rfft(unit, axis=1)) / 64
    assert np.abs(unit @ unit.T - np.eye(8)).max() < 5 / 64 and spectrum.max() < 5 / 64
