"""What dEBORA's upper level takes for the gradient, against one unrolled through the lower level.

The upper loss f1 is over s, the lower one f2 over (U, V), each 1/(2n) |X U diag(s) V^T - Y|^2 on
samples of its own. F(s) = f1(U*, s, V*) at the lower minimum; dF/ds by differentiation through the
iteration that finds it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

SIZE, RANK = 6, 3


def samples(rows, seed, noise=0.3):
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(size=(SIZE, SIZE)) / 2
    x = generator.normal(size=(rows, SIZE))
    y = x @ truth + noise * generator.normal(size=(rows, SIZE))
    return x.T @ x / rows, x.T @ y / rows, np.sum(y**2) / rows


def loss(u, s, v, data):
    """1/(2n) |X W - Y|^2, W = U diag(s) V^T, by the moments of the samples."""
    of_x, of_xy, of_y = data
    w = (u * s) @ v.T
    return (jnp.sum(w * (of_x @ w)) - 2 * jnp.sum(w * of_xy) + of_y) / 2


def unit(u):
    return u / jnp.linalg.norm(u, axis=0)


def lower(s, data, oblique, start, steps):
    """The lower minimum by descent, with unit columns if oblique."""

    def descend(both, _):
        gradient = jax.grad(lambda b: loss(b[0], s, b[1], data))(both)
        both = jax.tree.map(lambda p, g: p - 0.15 * g, both, gradient)
        return (tuple(map(unit, both)) if oblique else both), None

    return jax.lax.scan(descend, start, None, length=steps)[0]


@functools.partial(jax.jit, static_argnames=("oblique", "steps"))
def gradients(one, two, oblique, steps=4000):
    """(unrolled dF/ds, partial df1/ds, the formula with both corrections)."""
    generator = np.random.default_rng(5)
    start = tuple(unit(jnp.asarray(generator.normal(size=(SIZE, RANK)))) for _ in range(2))
    s = jnp.array([1.0, 0.7, 0.4])

    def total(s):
        u, v = lower(s, two, oblique, start, steps)
        return loss(u, s, v, one)

    unrolled = jax.grad(total)(s)
    u, v = lower(s, two, oblique, start, steps)
    of_u, partial, of_v = jax.grad(loss, (0, 1, 2))(u, s, v, one)
    formula = partial - (jnp.sum(u * of_u, axis=0) + jnp.sum(v * of_v, axis=0)) / s
    return unrolled, partial, formula


def off(result, expected):
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_on_one_sample_the_partial_derivative_is_the_hypergradient():
    data = samples(50, 1)
    unrolled, partial, _ = gradients(data, data, oblique=True)
    assert off(partial, unrolled) < 1e-6


def test_on_two_samples_the_error_falls_with_their_size():
    errors = []
    for rows in (40, 400, 4000):
        unrolled, partial, _ = gradients(samples(rows, 1), samples(rows, 2), oblique=True)
        errors.append(off(partial, unrolled))
        assert partial @ unrolled > 0
    assert errors[2] < errors[1] < errors[0] and errors[2] < 0.05


def test_without_the_constraint_there_is_nothing_to_descend():
    data = samples(400, 1), samples(400, 2)
    free, partial, formula = gradients(*data, oblique=False)
    held, _, _ = gradients(*data, oblique=True)
    assert np.linalg.norm(free) < 1e-6 * np.linalg.norm(held)
    np.testing.assert_allclose(formula, -partial, atol=1e-12)


def test_the_formula_with_corrections_points_the_wrong_way():
    data = samples(400, 1), samples(400, 2)
    unrolled, partial, formula = gradients(*data, oblique=True)
    np.testing.assert_allclose(formula, -partial, atol=1e-12)
    assert formula @ unrolled < 0 < partial @ unrolled
