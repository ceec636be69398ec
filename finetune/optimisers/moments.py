"""Averages over steps as some published optimisers take them, where optax's are others."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def adam(
    gradient: jax.Array,
    moments: tuple[jax.Array, jax.Array],
    step: jax.Array,
    *,
    betas: tuple[float, float],
    epsilon: float,
    corrected: bool,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """(direction, moments) of Adam with epsilon beside the root before any correction of its bias.

    m / (sqrt(v) + epsilon), and with `corrected` that times sqrt(1 - beta2^k) / (1 - beta1^k),
    k = step + 1. In the dtype of the gradient.

    Source: the AdamW of transformers before version 5, which several released optimisers copy.

    Example:
      >>> one, zero = jnp.ones(1), jnp.zeros(1)
      >>> result, _ = adam(
      ...     one, (zero, zero), jnp.int32(0), betas=(0.9, 0.999), epsilon=0.0, corrected=False
      ... )
      >>> round(float(result[0]), 2)
      3.16
    """
    one, two = (jnp.asarray(beta, gradient.dtype) for beta in betas)
    first = one * moments[0] + (1 - one) * gradient
    second = two * moments[1] + (1 - two) * gradient**2
    direction = first / (jnp.sqrt(second) + epsilon)
    if corrected:
        direction = direction * jnp.sqrt(1 - two ** (step + 1)) / (1 - one ** (step + 1))
    return direction, (first, second)


def growing(beta: float, step: jax.Array, dtype) -> jax.Array:
    """beta (1 - beta^step) / (1 - beta^(step + 1)): averages with it are free of bias themselves.

    Source: Shazeer and Stern (2018), Adafactor, section 7.1.

    Example:
      >>> [round(float(growing(0.9, jnp.int32(t), jnp.float32)), 3) for t in (0, 1, 1000)]
      [0.0, 0.474, 0.9]
    """
    beta = jnp.asarray(beta, dtype)
    return beta * (1 - beta**step) / (1 - beta ** (step + 1))
