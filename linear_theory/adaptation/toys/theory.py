"""Two toys of two factors: where a start ends, and what two factors keep.

Legend: toy I has targets y = w*.x, a model b a.x with a (d,) and a number b, m = ||w*||; toy II the
loss (a b - c)^2/2 of two numbers. The same holds for matrices: the balance is A^T A - B B^T.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.adaptation.linear_teacher import Array


@jax.jit
def end_point(balance: jax.Array, size: jax.Array) -> jax.Array:
    """b = ((-D + (D^2 + 4 m^2)^{1/2})/2)^{1/2}, D = |a|^2 - b^2: the minimum with that balance.

    Gradient flow keeps D. From the spectral start D = 0 and b = m^{1/2}; from LoRA's, D = |a_0|^2.

    Args:
      balance: D (...). size: m > 0 (...).

    Returns:
      |b| (...); a = w*/b.

    Source: derived above, from b a = w*; toy I of the talk on arXiv 2502.01235.

    Example:
      >>> end_point(jnp.array(0.0), jnp.array(4.0)).item(), end_point(3.0, 2.0).item()
      (2.0, 1.0)
    """
    # In the form without cancellation for D > 0.
    root = jnp.sqrt(balance**2 + 4 * size**2)
    square = jnp.where(balance > 0, 2 * size**2 / (root + balance), (root - balance) / 2)
    return jnp.sqrt(square)


@jax.jit
def field(a: jax.Array, b: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """-(a b - c) (b, a), minus the gradient of (a b - c)^2/2.

    Takes numbers or arrays, returns two. It vanishes on a b = c and at the saddle (0, 0).

    Source: toy II of the talk on arXiv 2502.01235.

    Example:
      >>> [w.item() for w in field(jnp.array(2.0), jnp.array(1.0), 1.0)]
      [-1.0, -2.0]
    """
    error = a * b - target
    return -error * b, -error * a


def balance(a: Array, b: Array) -> Array:
    """A^T A - B B^T (..., r, r), for a (..., d, r) and b (..., r, k); symmetric.

    Gradient flow keeps it, whatever the loss; a step of descent changes it in second order, see
    `balance_change`. Source: A^T grad_A = A^T g B^T = grad_B B^T.

    Example:
      >>> import numpy as np
      >>> balance(np.array([[2.0]]), np.array([[1.0]])).item()
      3.0
    """
    return a.mT @ a - b @ b.mT


def balance_change(slope_a: Array, slope_b: Array, step_size: float) -> Array:
    """eta^2 (grad_A^T grad_A - grad_B grad_B^T), the change of the balance in one step of descent.

    For two numbers this is -eta^2 (a b - c)^2 (a^2 - b^2).

    Args:
      slope_a: grad_A (..., d, r). slope_b: grad_B (..., r, k). step_size: eta.

    Returns:
      (..., r, r).

    Source: `balance` of the next factors; the terms of first order cancel.

    Example:
      >>> import numpy as np
      >>> balance_change(np.array([[1.0]]), np.array([[2.0]]), 0.5).item()
      -0.75
    """
    return step_size**2 * balance(slope_a, slope_b)
