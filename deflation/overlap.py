"""Rounds over devices in which the all-gather of one runs beside the local work of the next.

With stale predecessors (staleness >= 1) round l + 1 reads others' factors that were gathered after
round l - 1 or before, and a block's own ones, which never left its device. So the loop is turned by
half a round: its body gathers round l and works on round l + 1, and no product of the second reads
anything of the first. What does is the mask that keeps finished workers as they are, a selection
after the products. A compiler with asynchronous collectives can then hide the shorter of the two.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deflation.rounds import Exchange, gathered_round, local_round, unless
from deflation.sight import sight
from deflation.state import Controls, History, Plan, Progress, no_history, recorded
from deflation.worker import block_of


def overlapped(
    problem,
    solver,
    plan: Plan,
    controls: Controls,
    progress: Progress,
    index: jax.Array,
    exchange: Exchange,
    *,
    rounds: int,
) -> tuple[Progress, History]:
    """Up to `rounds` rounds of the block `index` (K,), the same ones as of `parallel_round`.

    A block goes on from what it has sent, not from what it gets back: the `combine` of a collective
    solver would be one round late for a worker itself, which is why `start` refuses it.
    """

    def work_ahead(progress, own, seen):
        return local_round(problem, solver, plan, controls, progress, index, own, seen)

    def take(progress, block):
        return gathered_round(solver, plan, controls, progress, exchange(block))

    def unfinished(carry):
        count, progress, _, _ = carry
        return (count < rounds - 1) & ~jnp.all(progress.done)

    def body(carry):
        count, progress, block, history = carry
        seen = sight(progress, ahead=1)  # read off before the gather, which it does not need
        progress = take(progress, block)
        block = work_ahead(progress, block.factors, seen)
        return count + 1, progress, block, recorded(history, count, progress)

    first = work_ahead(progress, block_of(progress.factors, index), sight(progress))
    carry = (jnp.zeros((), jnp.int32), progress, first, no_history(progress, rounds))
    count, progress, block, history = jax.lax.while_loop(unfinished, body, carry)
    # The last round's gather has no next round beside it. A run that is finished has no last round.
    finished = jnp.all(progress.done)
    last = unless(finished, take(progress, block), progress)
    row = jnp.where(finished, rounds, count)  # a row that does not exist is not written
    return last, recorded(history, row, last)
