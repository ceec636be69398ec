"""The one worker body, written for a block of workers; every way to run is an `exchange` around it.

Legend: r components, a block of K workers with component numbers index (K,), factors b (r, m),
a (r, d) in whitened coordinates as they were gathered after the last round.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, normalise, product
from deflation.problem.targets import Target, times, times_transposed


class View(NamedTuple):
    """A block of workers' sight of the target: M_k = M - sum_j weights[k, j] b_j a_j^T.

    A product with M_k is two products with the stacked factors and a mask, never a loop over
    predecessors.
    """

    target: Target
    published: Components
    weights: jax.Array  # (K, r), 1 where worker k subtracts component j

    def times(self, a: jax.Array) -> jax.Array:
        """(M_k a_k)_k, shape (K, m)."""
        overlap = product(a, self.published.a.T) * self.weights
        return times(self.target, a) - product(overlap, self.published.b)

    def transposed(self, b: jax.Array) -> jax.Array:
        """(M_k^T b_k)_k, shape (K, d)."""
        overlap = product(b, self.published.b.T) * self.weights
        return times_transposed(self.target, b) - product(overlap, self.published.a)


def predecessors(index: jax.Array, visible: jax.Array) -> jax.Array:
    """Deflation: worker k subtracts the visible components before it; (K, r)."""
    component = jnp.arange(visible.shape[0])
    return (component < index[:, None]) & visible


def others(index: jax.Array, visible: jax.Array) -> jax.Array:
    """Joint fitting: worker k subtracts every other visible component; (K, r)."""
    component = jnp.arange(visible.shape[0])
    return (component != index[:, None]) & visible


def work(
    problem, solver, factors, index, weights, working, *, orthogonal=False, own=None
) -> Components:
    """One round of a block of workers.

    Args:
      problem: the Regression.
      solver: the rank-one solver.
      factors: gathered factors of all workers (r, .), which may be some rounds old.
      index: component numbers of the block (K,).
      weights: who is subtracted, (K, r), see `predecessors` and `others`.
      working: workers of the block that take part (K,); the others keep their factors.
      orthogonal: project the new factors on the complement of the subtracted ones.
      own: the block's last factors (K, .); those in `factors` when None.

    Returns:
      The block's new factors (K, .).
    """
    own = block_of(factors, index) if own is None else own
    weights = weights.astype(problem.dtype)
    new = solver.local(problem, View(problem.target, factors, weights), own)
    if orthogonal:
        new = Components(
            _complement(new.b, factors.b, weights), _complement(new.a, factors.a, weights)
        )
    return select(working, new, own)


def block_of(factors: Components, index: jax.Array) -> Components:
    """The rows `index` (K,) of gathered factors."""
    return Components(factors.b[index], factors.a[index])


def select(mask: jax.Array, new: Components, old: Components) -> Components:
    """new where mask (K,) holds, old elsewhere."""
    return Components(*(jnp.where(mask[:, None], x, y) for x, y in zip(new, old, strict=True)))


def _complement(rows: jax.Array, published: jax.Array, weights: jax.Array) -> jax.Array:
    unit = normalise(published)
    return rows - product(product(rows, unit.T) * weights, unit)
