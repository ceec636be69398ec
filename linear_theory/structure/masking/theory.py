"""Masked inputs: what reconstruction from a part of the input does to the rank of features.

Legend: X (d, k) inputs as columns, S = X X^T; each input coordinate is kept with probability mu and
divided by mu, independently; W (d, d) a linear reconstruction. For networks: a tuple of layers
(d_l, d_{l-1}), applied to samples in rows, tanh between them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linear_theory.structure.gradient_projection.theory import Moments, adam_rule

Layers = tuple[jax.Array, ...]


@jax.jit
def masked_reconstruction(gram: jax.Array, keep: jax.Array) -> jax.Array:
    """argmin E ||X - W diag(z/mu) X||^2 = S (S + (1-mu)/mu diag S)^-1.

    A ridge regression of the inputs on themselves. With equal variances c = S_jj it has the
    eigenvectors of S, and multiplies its eigenvalues s by s/(s + c (1-mu)/mu): the features W X
    have a steeper spectrum than X, and the steeper the lower mu. With unequal variances they may
    have a flatter one.

    Args:
      gram: S (d, d), with a positive diagonal. keep: mu in (0, 1].

    Source: derived; arXiv 2503.19859, section on masked training, observes the effect.

    Example:
      >>> masked_reconstruction(jnp.array([[1.0, 0.0], [0.0, 1.0]]), 0.5).tolist()
      [[0.5, 0.0], [0.0, 0.5]]
    """
    ridge = gram + (1 - keep) / keep * jnp.diag(jnp.diag(gram))
    return jnp.linalg.solve(ridge, gram).T


def features(layers: Layers, inputs: jax.Array) -> list[jax.Array]:
    """The outputs of all layers, tanh after all but the last.

    Args:
      layers: (..., d_l, d_{l-1}). inputs: (..., samples, d_0).

    Returns:
      L arrays (..., samples, d_l).

    Example:
      >>> [h.shape for h in features((jnp.ones((3, 2)), jnp.ones((2, 3))), jnp.ones((5, 2)))]
      [(5, 3), (5, 2)]
    """
    outputs, current = [], inputs
    for index, layer in enumerate(layers):
        current = current @ layer.mT
        if index < len(layers) - 1:
            current = jnp.tanh(current)
        outputs.append(current)
    return outputs


@functools.partial(jax.jit, static_argnames=("loss", "steps"))
def train_masked(
    loss: Callable[[Layers, Any, jax.Array], jax.Array],
    layers: Layers,
    data: Any,
    key: jax.Array,
    step_size: float,
    steps: int,
) -> Layers:
    """Adam on loss(layers, data, key), a new key for each step, from which masks are drawn.

    Source: arXiv 2503.19859, section on masked training.

    Example:
      >>> end = train_masked(
      ...     lambda w, x, key: (w[0] ** 2).sum(), (jnp.ones((1, 1)),), 0, jax.random.key(0), 0.5, 1
      ... )
      >>> round(end[0].item(), 4)
      0.5
    """
    zeros = jax.tree.map(jnp.zeros_like, layers)
    moments = Moments(zeros, zeros, jnp.zeros((), layers[0].dtype))

    def step(state, key):
        layers, moments = state
        moments, direction = adam_rule(moments, jax.grad(loss)(layers, data, key))
        return (jax.tree.map(lambda w, m: w - step_size * m, layers, direction), moments), None

    return jax.lax.scan(step, (layers, moments), jax.random.split(key, steps))[0][0]
