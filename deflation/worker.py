"""The one worker body, written for a block of workers; every way to run is an `exchange` around it.

Legend: r components, a block of K workers with component numbers index (K,), factors b (r, m),
a (r, d) in whitened coordinates as they were gathered after the last round.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation.components import Components, distances, normalise, norms, product
from deflation.targets import Target, times, times_transposed


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


class Moves(NamedTuple):
    """What is decided from: of K components after a round, each (K,).

    Attributes:
      moved: ||R_k - R'_k||, how far each moved.
      sizes: ||R_k||.
      drift: how far each is from what others saw of it in that round; None where that was R'_k.
    """

    moved: jax.Array
    sizes: jax.Array
    drift: jax.Array | None


def moves(new: Components, old: Components, seen: Components | None = None) -> Moves:
    """From `old` to `new` (K, .), of which others have seen `seen`."""
    drift = None if seen is None else distances(new, seen)
    return Moves(distances(new, old), norms(new), drift)


def settled(moved: jax.Array, sizes: jax.Array, floor, tolerance, earlier=None) -> jax.Array:
    """Which components are within the tolerance (K,).

    left_k <= tolerance ||R_k|| + floor: relative to the component, above what `rounding` of the
    largest one sets. left_k is the move ||R_k - R'_k||, or with `earlier` moves, those of the two
    rounds before (2, K), the error that is left after it, see `remaining`. A negative tolerance is
    never met.
    """
    left = moved if earlier is None else remaining(moved, earlier, floor)
    return (tolerance >= 0) & (left <= tolerance * sizes + floor)


def rounding(sizes: jax.Array) -> jax.Array:
    """What is no movement: rounding of the largest component is in all of them."""
    return 8 * jnp.finfo(sizes.dtype).eps * jnp.max(sizes)


def remaining(moved: jax.Array, earlier: jax.Array, floor) -> jax.Array:
    """The error left after a move (r,), if moves go on shrinking as in the last two rounds.

    The sum of the moves to come, x (m' + m) + x^2 (m' + m) + ... = (m' + m) x / (1 - x), for the
    last moves m'', m', m and x = m/m''; that is m rho / (1 - rho) where each is rho times the one
    before. Two rounds, as Krylov rounds go by turns far and less far (steepest descent's zigzag),
    so that the ratio of two moves is no rate. Infinite where there is none: in the first two rounds
    (moves before the first are infinite), and while moves grow. Moves within the floor are
    rounding, whose ratio says nothing: they are what is left.
    """
    second, last = earlier
    shrinking = jnp.isfinite(second) & (moved < second)
    left = (last + moved) * (moved / jnp.where(shrinking, second - moved, 1))
    return jnp.where(moved <= floor, moved, jnp.where(shrinking, left, jnp.inf))


def _complement(rows: jax.Array, published: jax.Array, weights: jax.Array) -> jax.Array:
    unit = normalise(published)
    return rows - product(product(rows, unit.T) * weights, unit)
