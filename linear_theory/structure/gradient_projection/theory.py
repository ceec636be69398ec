"""Training in a low-rank subspace: gradients projected (GaLore) or adapters frozen (ReLoRA).

Legend: W (m, n) a weight matrix, G (m, n) its gradient, B (m, r) an orthonormal basis, A (r, n) an
adapter; eta the step size. A model is a tuple of weight matrices, its bases a tuple beside it;
`loss(weights, batch)` a scalar. Batches have the step in front. Nothing here factorises but
`gradient_bases`, which is numpy's, so that the phases may be mapped over instances by `jax.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Weights = tuple[jax.Array, ...]
Loss = Callable[[Weights, Any], jax.Array]


class Moments(NamedTuple):
    """Adam's averages of the projected gradients (r, n), one per weight matrix, and the step."""

    first: Weights
    second: Weights
    step: jax.Array


Rule = Callable[[Moments, Weights], tuple[Moments, Weights]]


def no_moments(weights: Weights, bases: Weights) -> Moments:
    """Zeros of shape (r, n), as at the start or after a reset.

    Example:
      >>> no_moments((jnp.ones((3, 4)),), (jnp.ones((3, 2)),)).first[0].shape
      (2, 4)
    """
    zeros = tuple(
        jnp.zeros((b.shape[-1], w.shape[-1]), w.dtype) for w, b in zip(weights, bases, strict=True)
    )
    return Moments(zeros, zeros, jnp.zeros((), zeros[0].dtype))


def descent_rule(moments: Moments, gradients: Weights) -> tuple[Moments, Weights]:
    """rho(R) = R, gradient descent.

    Example:
      >>> state = no_moments((jnp.ones((1, 1)),), (jnp.ones((1, 1)),))
      >>> descent_rule(state, (3 * jnp.ones((1, 1)),))[1][0].item()
      3.0
    """
    return moments, gradients


def adam_rule(
    moments: Moments, gradients: Weights, decays=(0.9, 0.999), epsilon: float = 1e-8
) -> tuple[Moments, Weights]:
    """rho(R) = m / (sqrt(v) + eps) with corrected averages m of R and v of R^2, of shape (r, n).

    The correction uses t + 1 for the step with index t, where the text has t.

    Source: arXiv 2503.19859, algorithm 1; arXiv 2403.03507, algorithm 2.

    Example:
      >>> state = no_moments((jnp.ones((1, 1)),), (jnp.ones((1, 1)),))
      >>> round(adam_rule(state, (3 * jnp.ones((1, 1)),))[1][0].item(), 4)
      1.0
    """
    descend, two = decays
    step = moments.step + 1
    first = jax.tree.map(lambda m, g: descend * m + (1 - descend) * g, moments.first, gradients)
    second = jax.tree.map(lambda v, g: two * v + (1 - two) * g**2, moments.second, gradients)
    direction = jax.tree.map(
        lambda m, v: m / (1 - descend**step) / (jnp.sqrt(v / (1 - two**step)) + epsilon),
        first,
        second,
    )
    return Moments(first, second, step), direction


def gradient_bases(gradients: Weights, rank: int) -> Weights:
    """The top r left singular vectors of each gradient, largest entry of a column positive.

    Args:
      gradients: arrays (..., m, n). rank: r <= min(m, n).

    Returns:
      Arrays (..., m, r); computed by numpy.

    Source: arXiv 2503.19859, (17) and theorem 4. The sign is ours: Adam depends on it.

    Example:
      >>> gradient_bases((np.diag([1.0, -2.0]),), 1)[0].ravel().tolist()
      [0.0, 1.0]
    """
    bases = []
    for gradient in gradients:
        left = np.linalg.svd(np.asarray(gradient), full_matrices=False)[0][..., :rank]
        largest = np.take_along_axis(left, np.abs(left).argmax(axis=-2)[..., None, :], axis=-2)
        bases.append(left * np.sign(largest))
    return tuple(bases)


def galore_phase(
    loss: Loss,
    rule: Rule,
    weights: Weights,
    moments: Moments,
    bases: Weights,
    batches: Any,
    step_size: jax.Array,
) -> tuple[Weights, Moments]:
    """W <- W - eta B rho(B^T G) on each batch.

    Args:
      loss, rule: functions.
      weights: arrays (m, n). bases: arrays (m, r). moments: of `no_moments`.
      batches: arrays with the step in front.
      step_size: eta.

    Source: arXiv 2503.19859, (18) and (19), the latter as P rho(P^T G) (printed with transposes
    exchanged).

    Example:
      >>> w, b = (jnp.ones((2, 1)),), (jnp.eye(2)[:, :1],)
      >>> end, _ = galore_phase(
      ...     lambda w, x: jnp.sum(w[0]), descent_rule, w, no_moments(w, b), b, jnp.zeros(3), 0.25
      ... )
      >>> end[0].ravel().tolist()
      [0.25, 1.0]
    """

    def descend(state, batch):
        weights, moments = state
        slopes = jax.grad(loss)(weights, batch)
        projected = jax.tree.map(lambda basis, slope: basis.T @ slope, bases, slopes)
        moments, direction = rule(moments, projected)
        weights = jax.tree.map(
            lambda w, basis, move: w - step_size * basis @ move, weights, bases, direction
        )
        return (weights, moments), None

    return jax.lax.scan(descend, (weights, moments), batches)[0]


def relora_phase(
    loss: Loss,
    rule: Rule,
    weights: Weights,
    moments: Moments,
    bases: Weights,
    batches: Any,
    step_size: jax.Array,
    scale: jax.Array | float = 1.0,
    train_bases: bool = False,
) -> tuple[Weights, Moments]:
    """A <- A - eta rho(grad_A loss(W + s B A)) from A = 0, B frozen; then W <- W + s B A.

    Args:
      scale: s. The same path as `galore_phase` with gradient descent needs eta/s^2 in place of eta.
      train_bases: let B follow plain gradient descent beside A, as LoRA does.

    Other arguments and the result as in `galore_phase`.

    Source: arXiv 2503.19859, (20) and theorem 4.

    Example:
      >>> w, b = (jnp.ones((2, 1)),), (jnp.eye(2)[:, :1],)
      >>> end, _ = relora_phase(
      ...     lambda w, x: jnp.sum(w[0]), descent_rule, w, no_moments(w, b), b, jnp.zeros(3), 0.25
      ... )
      >>> end[0].ravel().tolist()
      [0.25, 1.0]
    """

    def merged(adapters, bases):
        return jax.tree.map(lambda w, b, a: w + scale * b @ a, weights, bases, adapters)

    def descend(state, batch):
        adapters, bases, moments = state
        slopes = jax.grad(lambda a, b: loss(merged(a, b), batch), argnums=(0, 1))(adapters, bases)
        moments, direction = rule(moments, slopes[0])
        adapters = jax.tree.map(lambda a, move: a - step_size * move, adapters, direction)
        if train_bases:
            bases = jax.tree.map(lambda b, slope: b - step_size * slope, bases, slopes[1])
        return (adapters, bases, moments), None

    start = (no_moments(weights, bases).first, bases, moments)
    (adapters, bases, moments), _ = jax.lax.scan(descend, start, batches)
    return merged(adapters, bases), moments
