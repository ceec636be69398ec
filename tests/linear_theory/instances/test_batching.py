import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.instances.batching import compiled, per_instance


def test_equals_a_loop_over_instances_of_any_pytree():
    @per_instance
    def total(key, pair):
        return {"sum": pair[0] + pair[1].sum(), "draw": jax.random.normal(key)}

    keys = jax.random.split(jax.random.key(0), 3)
    left, right = jnp.arange(3.0), jnp.arange(6.0).reshape(3, 2)
    got = total(keys, (left, right))
    np.testing.assert_allclose(got["sum"], [1.0, 6.0, 11.0])
    np.testing.assert_allclose(got["draw"], [jax.random.normal(key) for key in keys], rtol=1e-6)


def test_keeps_the_name_and_the_dtype_of_the_context():
    @per_instance
    def doubled(x):
        """Twice."""
        return 2 * x

    assert doubled.__name__ == "doubled" and doubled.__doc__ == "Twice."
    assert doubled(np.ones(2, np.float32)).dtype == np.float32
    with jax.enable_x64(True):
        assert doubled(np.ones(2)).dtype == np.float64


def test_results_are_numpy_arrays():
    assert isinstance(compiled(lambda x: x + 1)(jnp.ones(2)), np.ndarray)
    assert isinstance(per_instance(lambda x: x + 1)(jnp.ones(2)), np.ndarray)
