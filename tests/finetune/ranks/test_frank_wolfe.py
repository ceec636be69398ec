"""Away-step Frank-Wolfe on the capped simplex."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.ranks import frank_wolfe

TAU, LEAST = 2.0, 0.1


def loss_of(s, target):
    hessian = jnp.eye(target.size) + 0.3
    return (s - target) @ hessian @ (s - target) / 2


@jax.jit
def move(s, target, alive):
    def loss(w):
        return loss_of(frank_wolfe.point(w, TAU, LEAST, alive), target)

    w = frank_wolfe.weights(s, TAU, LEAST, alive)
    way = frank_wolfe.direction(w, jax.grad(loss_of)(s, target), TAU, alive)
    size = frank_wolfe.searched(loss, w, way, jnp.asarray(1.0), 30)
    new = frank_wolfe.moved(w, way, size)
    return frank_wolfe.point(new, TAU, LEAST, alive), way.gap


def solved(target, alive, steps):
    """argmin 1/2 |H^(1/2) (s - target)|^2 on the set, by Frank-Wolfe from the lowest vertex."""
    s = np.where(alive, LEAST, 0.0).astype(target.dtype)
    for _ in range(steps):
        s, gap = move(s, target, alive)
    return np.asarray(s), float(gap)


def projected(target, steps=4000):
    """The same by projected gradient descent, the projection by bisection."""
    hessian, s = np.eye(target.size) + 0.3, np.full(target.size, LEAST)
    for _ in range(steps):
        s = s - 0.3 * hessian @ (s - np.asarray(target))
        low, high = 0.0, 10.0
        if np.maximum(s, LEAST).sum() <= TAU + target.size * LEAST:
            s = np.maximum(s, LEAST)
            continue
        for _ in range(80):
            middle = (low + high) / 2
            over = np.maximum(s - middle, LEAST).sum() > TAU + target.size * LEAST
            low, high = (middle, high) if over else (low, middle)
        s = np.maximum(s - high, LEAST)
    return s


@pytest.mark.parametrize(
    "target",
    [
        [2.0, 1.5, -1.0, 0.0],
        pytest.param([0.5, 0.3, 0.6, 0.2], marks=pytest.mark.thorough),
        pytest.param([5.0, 0, 0, 0], marks=pytest.mark.thorough),
    ],
)
def test_the_minimum_inside_on_the_cap_and_at_a_vertex(target):
    with jax.enable_x64(True):
        target = np.asarray(target, np.float64)
        s, gap = solved(target, np.ones(4, bool), 300)
        np.testing.assert_allclose(s, projected(target), atol=1e-4)
    assert gap < 1e-5 and s.min() >= LEAST and s.sum() <= TAU + 4 * LEAST + 1e-12


def test_an_away_step_of_full_length_takes_its_vertex_out():
    w = jnp.array([0.0, 0.25, 0.75])
    alive = jnp.ones(2, bool)
    way = jax.jit(frank_wolfe.direction)(w, jnp.array([5.0, -0.1]), TAU, alive)
    assert int(way.leaves) == 1
    np.testing.assert_allclose(way.most, 1 / 3, rtol=1e-6)
    new = frank_wolfe.moved(w, way, way.most)
    assert new.tolist() == [0.0, 0.0, 1.0]


def test_dead_components_stay_out_and_the_set_is_never_left():
    alive = np.array([True, False, True, True])
    s, _ = solved(np.array([1.0, 3.0, 2.0, -1.0], np.float32), alive, 60)
    assert s[1] == 0 and s.sum() <= TAU + 3 * LEAST + 1e-5 and s[[0, 2, 3]].min() >= LEAST


def test_no_step_that_does_not_pay():
    w = jnp.array([0.5, 0.5])
    way = frank_wolfe.direction(w, jnp.array([-1.0]), TAU, jnp.ones(1, bool))
    # The loss rises where its gradient says that it falls.
    assert frank_wolfe.searched(lambda w: w[1], w, way, jnp.asarray(1.0), 5) == 0
