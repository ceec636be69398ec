"""Rounds over devices: a block of workers on each, one all-gather per round.

With stale predecessors (staleness >= 1) round l + 1 reads others' factors that were gathered after
round l - 1 or before, and a block's own ones, which never left its device. So the loop is turned by
half a round: its body gathers round l and works on round l + 1, and no product of the second reads
anything of the first. What does is the mask that keeps finished workers as they are, a selection
after the products. A compiler with asynchronous collectives can then hide the shorter of the two.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.targets import RowBlock, Scaled
from deflation.rounds.rounds import (
    Block,
    Exchange,
    gathered_round,
    local_round,
    parallel_round,
    unless,
)
from deflation.rounds.state import (
    Controls,
    History,
    Plan,
    Progress,
    no_history,
    recorded,
)
from deflation.rounds.stopping import sight
from deflation.rounds.worker import block_of


def loop(one_round, progress: Progress, limit, rows: int) -> tuple[Progress, History]:
    """Up to `limit` rounds, fewer if every component is done before, and their history.

    The limit is a number of the run, and rows >= limit, those of the history, are its program's.
    """

    def unfinished(carry):
        count, progress, _ = carry
        return (count < limit) & ~jnp.all(progress.done)

    def body(carry):
        count, progress, history = carry
        progress = one_round(progress)
        return count + 1, progress, recorded(history, count, progress)

    carry = (jnp.zeros((), jnp.int32), progress, no_history(progress, rows))
    _, progress, history = jax.lax.while_loop(unfinished, body, carry)
    return progress, history


def sharded_rounds(problem, solver, controls, progress, limit, plan, rows):
    """The same rounds with a block of workers per device.

    Component k lives on device k mod P at slot k div P, so that the load is even while workers
    join. The factors a device reads are gathered ones, replicated; its own block is a slice of
    them. So a round has one collective, the all-gather of (b_k, a_k) and of what is decided from,
    how far they moved and their sizes: P ceil(r/P) (m + d + 2) numbers. With stale predecessors it
    runs beside the next round's products, see `overlapped`.

    Where rows of M are cut along a second axis, products with M are exchanged along it (RowBlock),
    and all else is done by all devices of a worker alike.
    """
    mesh, axis, row_axis = plan.devices.mesh, plan.devices.axis_name, plan.devices.row_axis
    devices = mesh.shape[axis]
    slots = -(-plan.rank // devices)
    m, d = problem.shape

    def exchange(block: Block) -> Block:
        leaves, form = jax.tree.flatten(block)
        rows = jnp.concatenate([leaf.reshape(slots, -1) for leaf in leaves], axis=1)[:, None]
        rows = jax.lax.all_gather(rows, axis, axis=1, tiled=True, to="invarying")
        rows = rows.reshape(slots * devices, -1)
        ends = np.cumsum([leaf.size // slots for leaf in leaves])
        parts = zip(jnp.split(rows, ends[:-1], axis=1), leaves, strict=True)
        return form.unflatten(part.reshape(-1, *leaf.shape[1:]) for part, leaf in parts)

    def run(problem, solver, controls, progress, limit):
        if row_axis is not None:
            block = RowBlock(problem.target.target, row_axis, (m, d))
            target = dataclasses.replace(problem.target, target=block)
            problem = problem._replace(target=target)
        index = jax.lax.axis_index(axis) + devices * jnp.arange(slots)
        if plan.publish.staleness:
            return overlapped(
                problem, solver, plan, controls, progress, index, exchange, limit=limit, rows=rows
            )

        def one_round(progress):
            return parallel_round(problem, solver, plan, controls, progress, index, exchange)

        return loop(one_round, progress, limit, rows)

    everywhere = jax.sharding.PartitionSpec()
    here, axes = everywhere, {axis}
    if row_axis is not None:
        here, axes = jax.tree.map(lambda _: everywhere, problem), {axis, row_axis}
        cut = jax.sharding.PartitionSpec(row_axis)
        here = here._replace(target=Scaled(cut, everywhere))
    run = jax.shard_map(
        run,
        mesh=mesh,
        in_specs=(here, everywhere, everywhere, everywhere, everywhere),
        out_specs=everywhere,
        axis_names=axes,
    )
    padded = _resize(progress, slots * devices)
    progress, history = run(problem, solver, controls, padded, limit)
    history = jax.tree.map(lambda rows: rows[:, : plan.rank], history)
    return _resize(progress, plan.rank), history


def _resize(progress: Progress, rank: int) -> Progress:
    """Cuts the component axis, or pads it with finished zero components."""
    have = progress.done.shape[0]

    def fit(rows, value, axis=0):
        if rank <= have:
            return jax.lax.slice_in_dim(rows, 0, rank, axis=axis)
        widths = [(0, rank - have if k == axis else 0) for k in range(rows.ndim)]
        return jnp.pad(rows, widths, constant_values=value)

    return progress._replace(
        factors=jax.tree.map(lambda rows: fit(rows, 0), progress.factors),
        past=jax.tree.map(lambda rows: fit(rows, 0, axis=1), progress.past),
        moved=fit(progress.moved, 0),
        earlier=fit(progress.earlier, 0, axis=1),
        sizes=fit(progress.sizes, 0),
        done=fit(progress.done, True),
        spent=fit(progress.spent, 0),
    )


def overlapped(
    problem,
    solver,
    plan: Plan,
    controls: Controls,
    progress: Progress,
    index: jax.Array,
    exchange: Exchange,
    *,
    limit,
    rows: int,
) -> tuple[Progress, History]:
    """Up to `limit` rounds of the block `index` (K,), the same ones as of `parallel_round`.

    A block goes on from what it has sent, not from what it gets back: a `combine` that makes
    other factors would be one round late for a worker itself, so its solver refuses the run.
    """

    def work_ahead(progress, own, seen):
        return local_round(problem, solver, plan, controls, progress, index, own, seen)

    def take(progress, block):
        return gathered_round(solver, plan, controls, progress, exchange(block))

    def unfinished(carry):
        count, progress, _, _ = carry
        return (count < limit - 1) & ~jnp.all(progress.done)

    def body(carry):
        count, progress, block, history = carry
        seen = sight(progress, ahead=1)  # read off before the gather, which it does not need
        progress = take(progress, block)
        block = work_ahead(progress, block.factors, seen)
        return count + 1, progress, block, recorded(history, count, progress)

    first = work_ahead(progress, block_of(progress.factors, index), sight(progress))
    carry = (jnp.zeros((), jnp.int32), progress, first, no_history(progress, rows))
    count, progress, block, history = jax.lax.while_loop(unfinished, body, carry)
    # The last round's gather has no next round beside it. A run that is finished has no last round.
    finished = jnp.all(progress.done)
    last = unless(finished, take(progress, block), progress)
    row = jnp.where(finished, rows, count)  # a row that does not exist is not written
    return last, recorded(history, row, last)
