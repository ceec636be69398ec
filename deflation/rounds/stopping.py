"""When a component is finished: how far it moved, and what its round rested on.

A run with staleness tau keeps the factors of the last tau + 1 rounds. Round l reads those of round
l - 1 - tau; before the first round everything is as at the start.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, distances, norms
from deflation.rounds.state import Progress


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


def rounding(sizes: jax.Array, xp=jnp) -> jax.Array:
    """What is no movement: rounding of the largest component is in all of them."""
    return 8 * xp.finfo(sizes.dtype).eps * xp.max(sizes)


def remaining(moved: jax.Array, earlier: jax.Array, floor, xp=jnp) -> jax.Array:
    """The error left after a move (r,), if moves go on shrinking as in the last two rounds.

    The sum of the moves to come, x (m' + m) + x^2 (m' + m) + ... = (m' + m) x / (1 - x), for the
    last moves m'', m', m and x = m/m''; that is m rho / (1 - rho) where each is rho times the one
    before. Two rounds, as Krylov rounds go by turns far and less far (steepest descent's zigzag),
    so that the ratio of two moves is no rate. Infinite where there is none: in the first two rounds
    (moves before the first are infinite), and while moves grow. Moves within the floor are
    rounding, whose ratio says nothing: they are what is left.
    """
    second, last = earlier
    shrinking = _shrinking(moved, second, xp)
    left = (last + moved) * (moved / xp.where(shrinking, second - moved, 1))
    return xp.where(moved <= floor, moved, xp.where(shrinking, left, xp.inf))


def _shrinking(moved, second, xp):
    return xp.isfinite(second) & (moved < second)


def had_its_share(k, spent, unused, moved, earlier, size, floor, xp=jnp):
    """Whether component k (from 0) of a run with `budgets.online` ends after this round (...).

    It ends when spent + later (mean + max)/2 log(size/left) reaches the unused rounds, with the
    mean and the largest of w_j = -2 / log(m_j/m_j''), the rounds in which component j fell by a
    factor of e, over those j <= k whose moves m_j'', m_j', m_j shrink, and left as in `remaining`.

    Args:
      spent, unused: rounds of it, and rounds that none before it has had (...).
      moved, earlier: moves of all components (..., r) and (2, ..., r); infinite before their first.
      size: ||R_k|| (...).
      floor: what is no movement.
    """
    later = moved.shape[-1] - 1 - k
    shrinking = _shrinking(moved, earlier[0], xp)
    ratios = xp.where(shrinking, moved, 1) / xp.where(shrinking, earlier[0], xp.e)
    rounds = xp.where(shrinking, -2 / xp.log(ratios), 0)
    pace = (rounds.sum(-1) / xp.maximum(shrinking.sum(-1), 1) + rounds.max(-1)) / 2
    left = remaining(moved[..., k], earlier[..., k], floor, xp)
    falls = shrinking[..., k] & (later > 0)
    needed = later * pace * xp.log(size / xp.where(falls, xp.maximum(left, floor), size))
    # With w_k alone before it, the largest share that the sum allows; the whole for the last.
    share = unused * (2 * (k + 1) / (2 * (k + 1) + (k + 2) * later))
    ended = (spent >= unused) | (spent + 1 > share) | (moved[..., k] <= floor)
    return ended | (falls & (spent + needed >= unused))


class Sight(NamedTuple):
    """Factors (r, .), the first `active` of which are published."""

    factors: Components
    active: jax.Array


def sight(progress: Progress, ahead: int = 0) -> Sight:
    """What the next round reads: the others as they were `staleness` rounds before the last one.

    Args:
      progress: where the run stands.
      ahead: asks for the round that many rounds later, whose sight is known already if this is at
        most the staleness.
    """
    if ahead == progress.past_active.shape[0]:
        return Sight(progress.factors, progress.active)
    past = Components(*(rows[ahead] for rows in progress.past))
    return Sight(past, progress.past_active[ahead])


def rests_on(progress: Progress, last: Moves, tolerance) -> jax.Array:
    """Workers whose round from `progress`, with the moves `last`, rested on what has stayed (r,).

    Their predecessors were all published, and as the round saw them they are within the tolerance
    of what they are now. A worker that stops for less still fits what its predecessors were before
    they settled. With it the last round of a worker was made, whatever the staleness, for a target
    that its predecessors have left by one tolerance each.
    """
    kept = settled(last.drift, last.sizes, rounding(last.sizes), tolerance)
    earlier = jnp.append(True, jnp.cumprod(kept)[:-1].astype(bool))
    return earlier & (jnp.arange(kept.shape[0]) <= sight(progress).active)
