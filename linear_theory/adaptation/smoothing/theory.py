"""Preconditioning with a damped inverse: what it slows, and what it leaves of surplus directions.

Legend: as in `preconditioning`, with inverses (. + lam I)^{-1} and balanced factors; h is the share
of R that the gradient sees in the mean: M = h R with h = 1 for a linear model, 1/2 for GLM-tron.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.jit
def smoothed_rate(
    values: jax.Array, damping: jax.Array, step_size: jax.Array, share: jax.Array = 0.5
) -> jax.Array:
    """max over the modes of |1 - eta h s/(s + lam)| and |1 - eta h (s/(s+lam) + s'/(s'+lam))|.

    Near Delta the part of R in the column of mode i and off all rows sees the first, the part in
    column i and row j the second. For small eta the largest is 1 - eta h s_{r*}/(s_{r*} + lam).

    Args:
      values: singular values of Delta (..., r*), positive.
      damping: lam >= 0, broadcasting against (...).
      step_size: eta (...).
      share: h (...).

    Returns:
      (...), the factor per step in the end for S = I and r = r*.

    Source: arXiv 2502.01235, theorem C.15, for h = 1/2.

    Example:
      >>> smoothed_rate(jnp.array([1.0]), 1.0, 1.0).item()
      0.75
    """
    weights = values / (values + jnp.asarray(damping)[..., None])
    pairs = weights[..., :, None] + weights[..., None, :]
    pairs = pairs.reshape(*weights.shape[:-1], -1)
    modes = jnp.concatenate([weights, pairs], axis=-1)
    return jnp.max(jnp.abs(1 - jnp.asarray(step_size * share)[..., None] * modes), axis=-1)


@jax.jit
def surplus_value(
    start: jax.Array, damping: jax.Array, step_size: jax.Array, steps: jax.Array, share=0.5
) -> jax.Array:
    """p_t = lam/W(u e^{u + 2 h eta t}), u = lam/p_0, W the inverse of w e^w: a surplus direction.

    A direction of the factors with no counterpart in Delta has p+ = p (1 - eta h p/(p + lam))^2;
    for small eta dp/dt = -2 eta h p^2/(p + lam), solved by lam/p + ln(lam/p) = u + ln u + 2 h eta
    t. First it falls exponentially, in the end as lam/(2 h eta t): never linearly.

    Args:
      start: p_0 > 0 (...). damping: lam > 0 (...). step_size: eta (...). steps: t (...).
      share: h.

    Returns:
      (...), the singular value of A B in that direction.

    Source: derived above; arXiv 2502.01235, theorem C.15, is about r = r*.

    Example:
      >>> round(surplus_value(1.0, 1.0, 0.01, 1000.0).item(), 3)
      0.113
    """
    first = damping / start
    logarithm = jnp.log(first) + first + 2 * share * step_size * steps
    # Newton's method for w + ln w = L, from a start above the root: convergence is monotone.
    w = jnp.where(logarithm > 1, logarithm, jnp.exp(jnp.minimum(logarithm, 1.0)))

    def newton(_, w):
        return w * (1 + logarithm - jnp.log(w)) / (1 + w)

    return damping / jax.lax.fori_loop(0, 12, newton, w)
