"""The scales rho_l(t) by which the layers of a deep linear network act on what they do not learn.

Legend: L layers, eta step size, lam weight decay, eps_l = rho_l(0) > 0, t steps;
p = 2 (L - 1). See `deep_linear` for the subspaces. Arrays broadcast.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames="steps")
def silent_scales(
    scales: jax.Array, step_size: jax.Array, decay: jax.Array, steps: int
) -> jax.Array:
    """rho_l <- rho_l (1 - eta lam - eta prod_{k != l} rho_k^2), from rho_l = eps_l.

    Args:
      scales: eps (..., L), any signs.
      step_size: eta (...). decay: lam (...).
      steps: number of steps.

    Returns:
      (steps + 1, ..., L).

    Source: arXiv 2503.19859, proof of theorem 2; the text drops eta before the product.

    Example:
      >>> silent_scales(jnp.array([1.0, 0.5]), 0.25, 0.0, steps=1)[1].tolist()
      [0.9375, 0.375]
    """
    eta, lam = jnp.asarray(step_size)[..., None], jnp.asarray(decay)[..., None]
    others = 1 - jnp.eye(scales.shape[-1], dtype=scales.dtype)

    def step(rho, _):
        squares = jnp.where(others > 0, rho[..., None, :] ** 2, 1).prod(axis=-1)
        moved = rho * (1 - eta * lam - eta * squares)
        return moved, moved

    _, path = jax.lax.scan(step, scales, length=steps)
    return jnp.concatenate([scales[None], path])


@jax.jit
def decay_law(scale: jax.Array, depth: jax.Array, step_size: jax.Array, steps: jax.Array):
    """rho(t) <= (eps^-p + p eta t)^(-1/p), p = 2(L - 1), without weight decay, equal scales.

    The solution of the gradient flow. Proof for steps, eta eps^p < 1: x = rho^-p goes to
    x (1 - eta/x)^-p >= x + p eta, as (1 - y)^-p >= 1 + p y.

    Source: proved above; arXiv 2503.19859 has rho ~ eps.

    Example:
      >>> decay_law(1.0, 2, 0.5, 3).item()
      0.5
    """
    power = 2.0 * (depth - 1)
    return (scale**-power + power * step_size * steps) ** (-1 / power)


@jax.jit
def decay_law_below(scale: jax.Array, depth: jax.Array, step_size: jax.Array, steps: jax.Array):
    """rho(t) >= (eps^-p + p eta t (1 - eta eps^p)^-(p+1))^(-1/p), where eta eps^p < 1.

    Proof: with y = eta/x <= eta eps^p, (1 - y)^-p <= 1 + p y (1 - y)^-(p+1) by the mean value
    theorem, and y only falls.

    Source: proved above.

    Example:
      >>> round(decay_law_below(1.0, 2, 0.5, 3).item(), 4)
      0.2
    """
    power = 2.0 * (depth - 1)
    growth = power * step_size * steps * (1 - step_size * scale**power) ** -(power + 1)
    return (scale**-power + growth) ** (-1 / power)


@jax.jit
def shrinkage_below(
    scale: jax.Array, depth: jax.Array, step_size: jax.Array, decay: jax.Array, steps: jax.Array
) -> jax.Array:
    """rho(t) >= eps (1 - eta lam - eta eps^p)^t, equal scales, where the bracket is not negative.

    With rho(t) <= eps (1 - eta lam)^t this brackets the printed rho ~ eps (1 - eta lam)^t: the
    ratio is at least (1 - eta eps^p/(1 - eta lam))^t, which tends to 1 with depth for eps < 1.
    Proof: rho falls, so that the product of the squares is at most eps^p.

    Source: arXiv 2503.19859, theorem 2, with its condition.

    Example:
      >>> shrinkage_below(1.0, 2, 0.25, 1.0, 2).item()
      0.25
    """
    power = 2.0 * (depth - 1)
    return scale * (1 - step_size * decay - step_size * scale**power) ** steps
