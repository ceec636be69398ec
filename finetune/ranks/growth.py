"""How the modules of AdaPaD grow: when, which of them, and when no more."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from finetune.adapters import levels, tables
from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import column, dealt, each
from finetune.ranks import room, scores
from rankwise import checks

SHARE = (3, 5)
"""Of a run's steps, those in which ranks grow unless told otherwise: three of five."""
LEAST = 4
"""The least of the largest rank of a module, where none is given."""


def period(total: int | jax.Array, growths: int) -> int | jax.Array:
    """Steps between growths, of which so many take `SHARE` of a run of `total` steps; at least 1.

    Args:
      total: may be traced.

    Example:
      >>> period(1000, 4), period(10, 20)
      (150, 1)
    """
    steps = SHARE[0] * total // SHARE[1] // max(growths, 1)
    return jnp.maximum(steps, 1) if checks.traced(total) else max(steps, 1)


class Plan(NamedTuple):
    """Components of a module at most and of all together, modules that grow at a time, how often
    they do, steps between."""

    rank: int
    budget: int
    grow: int
    rounds: int
    every: int | jax.Array


def plan(config, modules: int, total: int | jax.Array) -> Plan:
    """How a budget is dealt out to modules that have one component each.

    Args:
      config: with rank, budget, grow, every, and the significance at which modules may grow; by
        default (None) what `room.largest` says, twice the modules, a ninth of them, and what ends
        with `SHARE` of the run; where growth stops by itself all modules may grow, to that rank.
      total: steps of the run; may be traced, then it is not asked whether they suffice.

    Raises:
      ValueError: a budget outside modules..modules * rank, or more growths than the steps allow.
    """
    tested = config.significance is not None
    budget, grow = config.budget, config.grow
    rank = room.largest(config.rank, budget, modules, LEAST)
    if budget is None:
        budget = (rank if tested else min(2, rank)) * modules
    why = f" (1 to {rank} for each of {modules} modules)"
    checks.integer("budget", budget, modules, modules * rank, why=why)
    if grow is None:
        grow = modules if tested else -(-modules // 9)
    rounds = -(-(budget - modules) // grow)
    every = period(total, rounds) if config.every is None else config.every
    if not checks.traced(total) and rounds * every > total:
        if config.every is None:
            raise ValueError(
                f"budget is {budget} of {modules} modules, {grow} of which grow at a time; allowed "
                f"in {total} steps are at most {modules + grow * total}"
            )
        raise ValueError(
            f"every is {every} with {rounds} growths of {grow} modules each; "
            f"allowed are at most {total} steps"
        )
    return Plan(rank, budget, grow, rounds, every)


class Growth(NamedTuple):
    """How modules grow.

    Attributes:
      rank: R, components of a module at most.
      budget: components of all modules at most.
      grow: modules that grow at a time, at most.
      every: steps between growths.
      last: steps after which no module grows, None for no such end.
      private: whether the next component of every module trains in private.
      score: one of `scores.KINDS`.
      score_every: steps between scores.
      beta: of their averages, from one score to the next.
      significance: level of `scores.significant`, at which modules may grow; None for all of them.
    """

    rank: int
    budget: int
    grow: int
    every: int
    last: int | None
    private: bool
    score: str
    score_every: int
    beta: float
    significance: float | None

    def training(self, used, done) -> jax.Array:
        """Components per module that train in private after `done` steps: one, or at the end 0."""
        return jnp.where(self.private & self.going(used, done), 1, 0)

    def going(self, used, done) -> jax.Array:
        """Whether modules may still grow that have `used` components together."""
        going = jnp.asarray(used) < self.budget
        return going if self.last is None else going & (done < self.last)

    def due(self, aux: Tree, step: jax.Array) -> jax.Array:
        """Whether step number `step` scores: some module may still grow, and it is the turn."""
        used = jnp.sum(tables.rows(column(aux, "rank")))
        return self.going(used, step) & ((step + 1) % self.score_every == 0)

    def averaged(self, aux: Tree, raw: Leaves, due: jax.Array) -> Tree:
        """aux with the averages of the scores moved on."""
        deviation = jnp.square if self.score == "decrease" else jnp.abs
        return scores.averaged(aux, raw, self.beta, due, deviation)

    def grown(self, aux: Tree, step: jax.Array) -> Tree:
        """aux after the growth that is due once step number `step` is done, if one is."""
        rank = tables.rows(column(aux, "rank"))
        used = jnp.sum(rank)
        due = ((step + 1) % self.every == 0) & self.going(used, step)
        count = jnp.where(due, jnp.minimum(self.grow, self.budget - used), 0)
        eligible = rank < self.rank
        if self.significance is not None:
            eligible &= scores.significant(aux, self.beta, self.significance)
        rank = rank + scores.largest(scores.combined(aux, self.score), eligible, count)
        private = self.training(jnp.sum(rank), step + 1).astype(jnp.int32)

        def of_module(entry: Leaves, rank: jax.Array) -> Leaves:
            new = {**entry, "rank": rank.astype(jnp.int32), "private": private}
            if self.score == "decrease":  # it was that of the component which is now published
                new = scores.forgotten(new, rank != entry["rank"])
            return {**new, "gain": levels.published(new)}

        return each(of_module, aux, dealt(rank, aux))
