import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.instances import draws


def test_numbers_are_reproducible_and_independent_of_nothing_but_the_key():
    normal, uniform = draws.draw_numbers(jax.random.key(3), 4)
    again = draws.draw_numbers(jax.random.key(3), 4)
    np.testing.assert_array_equal(normal, again[0])
    np.testing.assert_array_equal(uniform, again[1])
    assert (uniform >= 0).all() and (uniform < 1).all()
    assert not np.array_equal(normal, draws.draw_numbers(jax.random.key(4), 4)[0])


def test_mixed_spectrum_has_all_three_kinds():
    tail = jnp.full(5, 0.5)
    spectra = [
        draws.mixed_spectrum(jnp.concatenate([jnp.array([u, 0.5]), tail]), 5)
        for u in (0.1, 0.5, 0.9)
    ]
    np.testing.assert_allclose(spectra[0], [1.0, 0.8, 0.6, 0.4, 0.2], rtol=1e-5)
    np.testing.assert_allclose(spectra[1], 0.625 ** np.arange(5), rtol=1e-5)
    np.testing.assert_allclose(spectra[2], 1 / np.arange(1, 6), rtol=1e-5)


def test_log_uniform_spans_its_range():
    np.testing.assert_allclose(
        draws.log_uniform(np.array([0.0, 0.5, 1.0]), 1e-4, 1.0), [1e-4, 1e-2, 1.0], rtol=1e-5
    )


def test_pick_and_unit():
    choices = [jnp.zeros(2), jnp.ones(2), 2 * jnp.ones(2)]
    assert [float(draws.pick(jnp.float32(u), choices)[0]) for u in (0.0, 0.4, 0.99)] == [0, 1, 2]
    np.testing.assert_allclose(draws.unit(jnp.full((2, 2), 7.0)), 0.5, rtol=1e-6)
