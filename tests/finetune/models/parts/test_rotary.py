"""Rotary positions: angles, scalings, and what depends on differences alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models.parts.rotary import Rope, frequencies, rotate

LLAMA3 = Rope(
    rope_type="llama3",
    rope_theta=5e5,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
)


def test_a_product_depends_on_the_distance():
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.normal(size=(1, 1, 1, 8)), jnp.float32) for _ in range(2))

    def product(at, other):
        turned = [rotate(x, jnp.array([p]), Rope()) for x, p in ((query, at), (key, other))]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 1) == pytest.approx(product(13, 11), abs=1e-5)
    assert product(3, 1) == pytest.approx(float(product(2, 0)), abs=1e-5)
    assert abs(product(3, 1) - product(3, 2)) > 1e-3


def test_position_zero_changes_nothing():
    x = jnp.arange(8.0).reshape(1, 1, 1, 8)
    np.testing.assert_array_equal(rotate(x, jnp.zeros((1, 1), jnp.int32), Rope()), x)


def test_scalings():
    plain = frequencies(Rope(rope_theta=5e5), 128)
    linear = Rope(rope_type="linear", rope_theta=5e5, factor=4.0)
    np.testing.assert_allclose(frequencies(linear, 128), plain / 4)
    wave = 2 * np.pi / plain
    found = frequencies(LLAMA3, 128)
    np.testing.assert_allclose(found[wave < 8192 / 4], plain[wave < 8192 / 4])
    np.testing.assert_allclose(found[wave > 8192], plain[wave > 8192] / 8)
    assert (np.diff(found) < 0).all()
    with pytest.raises(ValueError, match=r"low_freq_factor is 4.0; allowed: numbers < high_freq"):
        Rope(**{**LLAMA3.given(), "low_freq_factor": 4.0})
