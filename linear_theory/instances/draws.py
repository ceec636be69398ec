"""The random numbers that instances are made of, and what turns them into sizes and spectra."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.instances.batching import compiled
from linear_theory.instances.simulate import spectrum


def draw_numbers(key: jax.Array, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian (trials, 640) and uniform (trials, 48) numbers, of which all instances are made.

    Drawn in one piece: a generator inside `vmap` takes the compiler several seconds.

    Example:
      >>> draw_numbers(jax.random.key(0), 3)[1].shape
      (3, 48)
    """
    # From zeros, so that the shapes are known to the compiler.
    return _numbers(key, np.zeros(trials))


@compiled
def _numbers(key: jax.Array, instances: jax.Array) -> tuple[jax.Array, jax.Array]:
    key_normal, key_uniform = jax.random.split(key)
    shape = instances.shape
    return jax.random.normal(key_normal, (*shape, 640)), jax.random.uniform(
        key_uniform, (*shape, 48)
    )


def mixed_spectrum(uniform: jax.Array, count: int) -> jax.Array:
    """Singular values (count,) from 1 downwards, gaps open, from count + 2 uniform numbers.

    Partial sums of random gaps, geometric with a ratio in (0.3, 0.95), or harmonic.
    """
    sums = jnp.cumsum(0.2 + uniform[2 : count + 2])[::-1]
    choices = [
        sums / sums[0],
        spectrum("geometric", count, ratio=0.3 + 0.65 * uniform[1]),
        spectrum("harmonic", count),
    ]
    return pick(uniform[0], choices)


def pick(uniform: jax.Array, choices: list[jax.Array]) -> jax.Array:
    """One of the choices, by a uniform number in [0, 1)."""
    return jnp.stack(choices)[(uniform * len(choices)).astype(int)]


def log_uniform(uniform: jax.Array, low: float, high: float) -> jax.Array:
    """Uniform numbers in [0, 1) as numbers from low to high, uniform in their logarithm."""
    return low * (high / low) ** uniform


def unit(array: jax.Array) -> jax.Array:
    """The array divided by its Frobenius norm."""
    return array / jnp.linalg.norm(array)
