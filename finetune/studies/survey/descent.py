"""Plain training as one compiled scan: what the survey's experiments have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

Tree = Any


def descend(
    loss: Callable[[Tree, Any], jax.Array],
    tx: optax.GradientTransformation,
    params: Tree,
    moments: Tree,
    batches: Any,
) -> tuple[Tree, Tree, jax.Array]:
    """p <- p + u_t, where u_t is what `tx` makes of the gradient of loss(p, batch_t).

    Args:
      loss: (params, batch) -> scalar.
      moments: of `tx`, `tx.init(params)` at the start.
      batches: a pytree whose leaves have a leading axis, the steps.

    Returns:
      params, moments, and the loss before each step, (steps,).

    Example:
      >>> tx = optax.sgd(0.5)
      >>> p = jnp.array(1.0)
      >>> end = descend(lambda p, x: 0.5 * (p - x) ** 2, tx, p, tx.init(p), jnp.zeros(3))
      >>> float(end[0]), end[2].tolist()
      (0.125, [0.5, 0.125, 0.03125])
    """

    def step(carry, batch):
        params, moments = carry
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, moments = tx.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    (params, moments), losses = jax.lax.scan(step, (params, moments), batches)
    return params, moments, losses


def pure(model: nnx.Module) -> tuple[Callable[..., Any], Tree]:
    """(params, inputs, **options) -> Output of the model, and its parameters."""
    graphdef, params = nnx.split(model)

    def forward(params, inputs, **options):
        return nnx.merge(graphdef, params)(inputs, **options)

    return forward, params


def singular_values(matrix: jax.Array) -> jax.Array:
    """Of the last two axes, descending."""
    return jnp.linalg.svd(matrix, compute_uv=False)


def orthogonal(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """A random matrix whose rows or columns (the fewer) are orthonormal, float32."""
    return jax.nn.initializers.orthogonal()(key, shape, jnp.float32)
