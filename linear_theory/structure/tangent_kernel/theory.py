"""Training of adapters linearised at their start, as a probe for the training itself.

Legend: theta = (B, A), B (m, r), A (r, n), an adapter of scale s on a weight W (m, n); f(theta) the
predictions of the adapted model; f_0 + J (theta - theta_0) its linearisation at the start, usually
B_0 = 0; eta the step size; X (n, N) inputs, Y targets; the loss 1/2 ||f(theta) - Y||^2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Model = Callable[[Any], jax.Array]


def linearised(model: Model, start: Any) -> Model:
    """theta -> f(theta_0) + J (theta - theta_0), J the Jacobian at theta_0.

    Args:
      model: f, from a pytree to an array. start: theta_0.

    Source: Jacot et al., arXiv 1806.07572; Lee et al., arXiv 1902.06720.

    Example:
      >>> linearised(lambda x: x**2, jnp.array(3.0))(jnp.array(4.0)).item()
      15.0
    """

    def tangent_model(theta):
        change = jax.tree.map(jnp.subtract, theta, start)
        value, slope = jax.jvp(model, (start,), (change,))
        return value + slope

    return tangent_model


def descend_model(
    model: Model, start: Any, targets: jax.Array, step_size: jax.Array, steps: int
) -> jax.Array:
    """f(theta_T) after T steps of gradient descent on 1/2 ||f(theta) - Y||^2.

    Args:
      model: f. start: theta_0. targets: Y, of the shape of f. step_size: eta. steps: T.

    Example:
      >>> descend_model(lambda x: x, jnp.array(2.0), jnp.array(0.0), 0.5, 1).item()
      1.0
    """

    def step(theta, _):
        residual, pull = jax.vjp(lambda theta: model(theta) - targets, theta)
        (slope,) = pull(residual)
        return jax.tree.map(lambda x, g: x - step_size * g, theta, slope), None

    return model(jax.lax.scan(step, start, length=steps)[0])


def adapter_kernel(adapter: jax.Array, inputs: jax.Array, scale: jax.Array | float = 1.0):
    """K = s^2 (A_0 X)^T (A_0 X), the tangent kernel of (W + s B A) X at B_0 = 0, for every output.

    At B_0 = 0 the predictions do not depend on A to first order: the linearised adapter trains B
    alone. Multiplying A_0 by a multiplies K by a^2.

    Args:
      adapter: A_0 (r, n). inputs: X (n, N). scale: s.

    Returns:
      (N, N).

    Source: derived.

    Example:
      >>> adapter_kernel(jnp.ones((1, 2)), jnp.eye(2), 2.0).tolist()
      [[4.0, 4.0], [4.0, 4.0]]
    """
    hidden = scale * adapter @ inputs
    return hidden.T @ hidden


def kernel_descent(
    residual: jax.Array, kernel: jax.Array, step_size: jax.Array, steps: int
) -> jax.Array:
    """f_T - Y = (f_0 - Y) (I - eta K)^T, the residual of linearised training.

    Args:
      residual: f_0 - Y (m, N). kernel: K (N, N). step_size: eta. steps: T.

    Source: Lee et al., arXiv 1902.06720, for gradient descent.

    Example:
      >>> kernel_descent(jnp.ones((1, 1)), jnp.ones((1, 1)), 0.5, 2).item()
      0.25
    """
    factor = jnp.eye(kernel.shape[-1], dtype=kernel.dtype) - step_size * kernel
    return jax.lax.fori_loop(0, steps, lambda _, state: state @ factor, residual)
