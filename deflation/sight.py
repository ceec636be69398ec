"""What the workers of a round see of each other: the last gathered factors, or older ones.

A run with staleness tau keeps the factors of the last tau + 1 rounds. Round l reads those of round
l - 1 - tau; before the first round everything is as at the start.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation.components import Components
from deflation.state import Progress
from deflation.worker import Moves, rounding, settled


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


def rests_on(progress: Progress, found: Moves, tolerance) -> jax.Array:
    """Workers whose round from `progress`, with the moves `found`, rested on what has stayed (r,).

    Their predecessors were all published, and as the round saw them they are within the tolerance
    of what they are now. A worker that stops for less still fits what its predecessors were before
    they settled. With it the last round of a worker was made, whatever the staleness, for a target
    that its predecessors have left by one tolerance each.
    """
    kept = settled(found.drift, found.sizes, rounding(found.sizes), tolerance)
    earlier = jnp.append(True, jnp.cumprod(kept)[:-1].astype(bool))
    return earlier & (jnp.arange(kept.shape[0]) <= sight(progress).active)
