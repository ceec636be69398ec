import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.adaptation import linear_teacher as lt


def test_gradients_are_those_of_the_loss():
    teacher = lt.draw_teachers(jax.random.key(0), 1, d=5, k=4, samples=9, rank=2)
    x, delta = jnp.asarray(teacher.x[0]), jnp.asarray(teacher.delta[0])
    a, b = jnp.asarray(teacher.start[0]), jnp.asarray(teacher.noise[0, :2])

    def loss(a, b):
        return jnp.sum((x @ (a @ b - delta)) ** 2) / (2 * len(x))

    with jax.enable_x64(True):
        expected = jax.grad(loss, (0, 1))(*(w.astype(float) for w in (a, b)))
        result = lt.factor_gradients(teacher.gram[0], teacher.delta[0], a, b)
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_instances(rank):
    teacher = lt.draw_teachers(jax.random.key(1), 6, rank=rank, kappa=(2.0, 3.0), inner=5)
    np.testing.assert_allclose(
        np.linalg.svd(teacher.delta, compute_uv=False)[:, :rank], teacher.values, atol=1e-12
    )
    np.testing.assert_allclose(teacher.values[:, 0], 1.0)
    if rank > 1:
        kappa = 1 / teacher.values[:, -1]
        assert (kappa >= 2 - 1e-12).all() and (kappa <= 3 + 1e-12).all()
    assert teacher.start.shape == (6, 10, 5)
    again = lt.draw_teachers(jax.random.key(1), 6, rank=rank, kappa=(2.0, 3.0), inner=5)
    np.testing.assert_array_equal(teacher.x, again.x)
    other = lt.draw_teachers(jax.random.key(2), 6, rank=rank)
    assert not np.allclose(teacher.x, other.x)


def test_the_population_is_the_limit_of_samples():
    teacher = lt.draw_teachers(jax.random.key(0), 2, d=4, samples=None)
    np.testing.assert_allclose(teacher.x.mT @ teacher.x / 4, teacher.gram, atol=1e-12)


def test_steps_are_simultaneous():
    one = np.ones((1, 1, 1))
    teacher = lt.draw_teachers(jax.random.key(0), 1, d=1, k=1, samples=None, rank=1)
    teacher = teacher._replace(delta=0 * one)
    a, b = lt.follow(lt.gradient_step(teacher, 0.5, 0.25), 2 * one, one, 1)
    # Slope 2: A - 0.5 * 2 * B and B - 0.25 * 2 * A, both of the old values.
    assert (a[0, 1, 0, 0], b[0, 1, 0, 0]) == (1.0, 0.0)
