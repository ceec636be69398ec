"""Frank-Wolfe with away steps on the capped simplex {s >= eps, sum s <= tau + r eps}.

Its vertices are v_0 = eps and v_i = eps + tau e_i; s = sum_i w_i v_i with w_i = (s_i - eps) / tau
and w_0 = 1 - sum w_i, uniquely, so no list of active vertices has to be kept: they have w_i > 0. In
weights w (r + 1,), with q = (0, tau G) for a gradient G by s, a step goes

    towards the vertex of least q     d = e_v - w    by at most 1             gap q w - q_v
    away from the active one of most  d = w - e_a    by at most w_a / (1 - w_a)   gap q_a - q w

whichever gap is larger. An away step of full length takes its vertex out.

Source: Guelat and Marcotte (1986); Lacoste-Julien and Jaggi (2015), arXiv 1511.05932, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Direction(NamedTuple):
    """A direction in weights.

    Attributes:
      weights: (r + 1,), sums to 0.
      most: the largest step.
      gap: what f falls by per unit step, to first order; >= 0, 0 at a stationary point.
      leaves: vertex that a step of `most` takes out, -1 for none.
    """

    weights: jax.Array
    most: jax.Array
    gap: jax.Array
    leaves: jax.Array


def weights(s: jax.Array, tau: float, least: float, alive: jax.Array) -> jax.Array:
    """w (r + 1,) of s (r,); components that are not alive have none."""
    own = jnp.where(alive, jnp.maximum(s - least, 0) / tau, 0)
    return jnp.concatenate([jnp.maximum(1 - jnp.sum(own), 0)[None], own])


def point(w: jax.Array, tau: float, least: float, alive: jax.Array) -> jax.Array:
    """s (r,) of w, 0 where not alive.

    Example:
      >>> alive = jnp.array([True, True, False])
      >>> w = weights(jnp.array([1.5, 0.5, 0.0]), 2.0, 0.5, alive)
      >>> w.tolist(), point(w, 2.0, 0.5, alive).tolist()
      ([0.5, 0.5, 0.0, 0.0], [1.5, 0.5, 0.0])
    """
    return jnp.where(alive, least + tau * w[1:], 0).astype(w.dtype)


def direction(w: jax.Array, gradient: jax.Array, tau: float, alive: jax.Array) -> Direction:
    """The better of the two directions at w for the gradient G (r,) by s."""
    allowed = jnp.concatenate([jnp.ones(1, bool), alive])
    q = jnp.concatenate([jnp.zeros(1, w.dtype), tau * gradient.astype(w.dtype)])
    here = jnp.sum(jnp.where(allowed, q * w, 0))
    towards = jnp.argmin(jnp.where(allowed, q, jnp.inf))
    away = jnp.argmax(jnp.where(w > 0, q, -jnp.inf))
    forward, backward = here - q[towards], q[away] - here
    number = jnp.arange(w.size)
    most = w[away] / jnp.maximum(1 - w[away], jnp.finfo(w.dtype).tiny)
    back = backward > forward
    return Direction(
        jnp.where(back, w - (number == away), (number == towards) - w),
        jnp.where(back, most, 1),
        jnp.maximum(jnp.where(back, backward, forward), 0),
        jnp.where(back, away, -1).astype(jnp.int32),
    )


def moved(w: jax.Array, way: Direction, size: jax.Array) -> jax.Array:
    """The weights after a step, with exact zeros where a vertex leaves."""
    new = jnp.maximum(w + size * way.weights, 0)
    out = (jnp.arange(w.size) == way.leaves) & (size >= way.most)
    new = jnp.where(out, 0, new)
    return new / jnp.sum(new)


def searched(
    loss: Callable[[jax.Array], jax.Array],
    w: jax.Array,
    way: Direction,
    first: jax.Array,
    halvings: int,
    slope: float = 0.1,
) -> jax.Array:
    """The largest of first, first / 2, ... with loss(new w) <= loss(w) - slope size gap, else 0.

    Args:
      loss: of weights; called once more than sizes are tried.
      first: cut to the largest step.
      halvings: sizes that are tried after the first.
    """
    start = jnp.minimum(first, way.most)
    before = loss(w)

    def good(size):
        return loss(moved(w, way, size)) <= before - slope * size * way.gap

    def wanted(carry):
        _, count, accepted = carry
        return ~accepted & (count <= halvings)

    def half(carry):
        size, count, _ = carry
        new = jnp.where(count == 0, size, size / 2)
        return new, count + 1, good(new)

    first_try = (start, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    size, _, accepted = jax.lax.while_loop(wanted, half, first_try)
    return jnp.where(accepted, size, 0)
