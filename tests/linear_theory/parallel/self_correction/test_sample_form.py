"""The run written out in samples: its two steps, and the order in which workers look."""

import numpy as np

from linear_theory.parallel.self_correction import sample_form

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 3, 9)), RNG.normal(size=(2, 4, 9))


def first(workers):
    return RNG.normal(size=(2, workers, 4)), RNG.normal(size=(2, workers, 3))


def loss(b, a):
    residual = Y - b[:, :, None] * np.einsum("td,tdn->tn", a, X)[:, None]
    return np.sum(residual**2, axis=(1, 2)) / 2


def test_alternating_step_is_a_minimum_in_b_and_no_worse_in_a():
    b, a = (rows[:, 0] for rows in first(1))
    new_b, new_a = sample_form.alternating_step(X, Y, b, a)
    assert (loss(new_b, new_a) < loss(b, a)).all()
    for change in 1e-4 * RNG.normal(size=(5, 2, 4)):
        assert (loss(new_b + change, new_a) > loss(new_b, new_a)).all()


def test_descent_step_is_along_the_gradient():
    b, a = (rows[:, 0] for rows in first(1))
    step = np.array([[1e-6], [2e-6]])
    new_b, new_a = sample_form.descent_step(step)(X, Y, b, a)
    down_b, down_a = (new_b - b) / step, (new_a - a) / step
    squares = np.sum(down_b**2, axis=1) + np.sum(down_a**2, axis=1)
    np.testing.assert_allclose((loss(b, a) - loss(new_b, new_a)) / step[:, 0], squares, rtol=1e-3)


def test_workers_see_what_was_published_before_the_round():
    b, a = first(2)
    step = sample_form.alternating_step
    once = sample_form.parallel(X, Y, b, a, step, 1)
    for k in range(2):  # nothing is published yet
        for got, expected in zip(once, step(X, Y, b[:, k], a[:, k]), strict=True):
            np.testing.assert_allclose(got[:, k], expected)
    twice = sample_form.parallel(X, Y, b, a, step, 2)
    seen = Y - once[0][:, 0, :, None] * (once[1][:, 0, None] @ X)
    expected = step(X, seen, once[0][:, 1], once[1][:, 1])
    np.testing.assert_allclose(twice[1][:, 1], expected[1])


def test_the_other_order_looks_at_the_same_round():
    b, a = first(2)
    step = sample_form.alternating_step
    jacobi, seidel = (sample_form.parallel(X, Y, b, a, step, 3, jacobi) for jacobi in (True, False))
    np.testing.assert_allclose(jacobi[0][:, 0], seidel[0][:, 0])
    assert not np.allclose(jacobi[0][:, 1], seidel[0][:, 1])
