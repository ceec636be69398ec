"""Predecessors as they were some steps ago: an option of the methods whose levels see each other.

What a level needs of the others may then still be on its way while it computes.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from finetune.adapters.by_component import along
from finetune.adapters.gradient_start import StartOptions
from finetune.adapters.levels import Snapshot
from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import each
from rankwise import checks
from rankwise.options import option

PAST = "past_"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LateOptions(StartOptions):
    """How late a level sees its predecessors; and `StartOptions`.

    Attributes:
      staleness: tau; in step t level k sees a_j b_j of step t - tau, or of the first step, and
        nothing of what was not published then. aux keeps tau + 1 copies of all factors.

    Source: arXiv 2605.10741 leaves late messages open; `deflation.parallel(staleness=tau)`.
    """

    staleness: int = option(
        0, "steps that the components which a level sees of others are behind the last step"
    )

    def __post_init__(self):
        super().__post_init__()
        checks.integer("staleness", self.staleness, 0)
        phase = getattr(self, "phase", "parallel")
        if self.staleness and phase != "parallel":
            raise ValueError(
                f"staleness is {self.staleness} with phase {phase!r}; allowed is 'parallel', whose "
                "levels see each other"
            )

    def begun(self, theta: Tree, aux: Tree) -> Tree:
        """aux before the first step, with the past that late levels see."""
        return self._remembering(theta, aux, lambda new, _: jnp.stack([new] * (1 + self.staleness)))

    def moved(self, theta: Tree, aux: Tree) -> Tree:
        """aux after a step that ended at `theta`: the oldest is forgotten."""
        return self._remembering(theta, aux, lambda new, old: jnp.concatenate([old[1:], new[None]]))

    def seen(self, now: Snapshot) -> Snapshot:
        """The snapshot with predecessors as late as they arrive."""
        if not self.staleness:
            return now

        def oldest(leaves: Leaves, entry: Leaves) -> Leaves:
            return {name: entry[PAST + name][0] for name in leaves}

        return now._replace(seen=each(oldest, now.theta, now.aux))

    def _remembering(self, theta: Tree, aux: Tree, remembered) -> Tree:
        if not self.staleness:
            return aux

        def of_module(leaves: Leaves, entry: Leaves) -> Leaves:
            published = entry["gain"] != 0
            past = {
                PAST + name: remembered(
                    jnp.where(along(published, name), leaf, 0), entry.get(PAST + name)
                )
                for name, leaf in leaves.items()
            }
            return {**entry, **past}

        return each(of_module, theta, aux)
