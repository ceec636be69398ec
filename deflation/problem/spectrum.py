"""What a spectrum says of its matrix: how many directions it has in effect."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def stable_rank(values: jax.Array, xp=jnp) -> jax.Array:
    """||G||_F^2 / ||G||_2^2 of singular values.

    Args:
      values: (..., K), not all zero.
      xp: jax.numpy or numpy.

    Returns:
      (...), between 1 and K.

    Source: arXiv 2403.03507, section 3.

    Example:
      >>> stable_rank(jnp.array([2.0, 1.0, 1.0])).item()
      1.5
    """
    return xp.sum(values**2, axis=-1) / xp.max(values, axis=-1) ** 2


def effective_rank(values: jax.Array, xp=jnp) -> jax.Array:
    """exp(-sum_i p_i log p_i), p_i = s_i / sum_j s_j, of singular values s.

    Falls when the spectrum becomes steeper (it is Schur concave).

    Args:
      values: (..., K), not all zero.
      xp: jax.numpy or numpy.

    Returns:
      (...), between 1 and K.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007.

    Example:
      >>> round(effective_rank(jnp.array([2.0, 2.0, 0.0])).item(), 4)
      2.0
    """
    share = values / xp.sum(values, axis=-1, keepdims=True)
    logs = xp.where(share > 0, xp.log(xp.where(share > 0, share, 1)), 0)
    return xp.exp(-xp.sum(share * logs, axis=-1))
