"""One round of each way to run, as a pure function Progress -> Progress around the worker body.

The ways differ in who works, who is subtracted and how the results are exchanged:

  sequential  a block of one, the current component; its result is written in place
  parallel    all workers, each against its visible predecessors; batched, nothing to exchange
  sharded     parallel with a block per device; one all-gather is the exchange
  joint       all workers, each against all others: gradient descent on the whole factorisation

With staleness tau the others are seen as they were tau rounds before the last one; a worker's own
factors are always its last ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, norms, product
from deflation.problem.targets import times, times_transposed
from deflation.rounds.state import Controls, Plan, Progress
from deflation.rounds.stopping import (
    Moves,
    Sight,
    had_its_share,
    moves,
    rests_on,
    rounding,
    settled,
    sight,
)
from deflation.rounds.worker import block_of, others, predecessors, work


class Block(NamedTuple):
    """What a block of K workers sends: factors (K, .), and how they moved, measured where they are.

    Where the solver makes something else to `share`, the moves are known after the gather only:
    None.
    """

    factors: Components
    moves: Moves | None


Exchange = Callable[[Block], Block]


def parallel_round(
    problem, solver, plan: Plan, controls: Controls, progress: Progress, index, exchange: Exchange
) -> Progress:
    """Every worker of the block `index` (K,) takes one round; `exchange` gathers all blocks."""
    own = block_of(progress.factors, index)
    block = local_round(problem, solver, plan, controls, progress, index, own, sight(progress))
    return gathered_round(solver, plan, controls, progress, exchange(block))


def local_round(
    problem, solver, plan: Plan, controls: Controls, progress: Progress, index, own, seen: Sight
) -> Block:
    """The first half of a round, before anything is exchanged.

    Component numbers beyond the rank (padding of the last block) never work.
    """
    number = jnp.arange(progress.done.shape[0])
    weights = (others if plan.way == "joint" else predecessors)(index, number < seen.active)
    active = _grown(plan, controls, progress)
    working = _working(plan, progress, active)[index]
    shared = solver.share(problem, own, working)
    if shared is not None:
        return Block(shared, None)
    new = work(
        problem,
        solver,
        seen.factors,
        index,
        weights,
        working,
        orthogonal=plan.extensions.orthogonal,
        own=own,
    )
    stale = block_of(seen.factors, index) if plan.publish.staleness else None
    return Block(new, moves(new, own, stale))


def gathered_round(
    solver, plan: Plan, controls: Controls, progress: Progress, gathered: Block
) -> Progress:
    """The second half of a round, after all its blocks have been gathered (r, .).

    Stopping and growth are decided from gathered numbers, so they need no exchange of their own.
    """
    number = jnp.arange(progress.done.shape[0])
    active = _grown(plan, controls, progress)
    working = _working(plan, progress, active)
    everyone = predecessors(number, number < _joined(plan, active))
    new = solver.combine(gathered.factors, progress.factors, everyone, working)
    last = moves(new, progress.factors) if gathered.moves is None else gathered.moves
    earlier = _shifted(progress)
    still = _settled(controls, last.moved, last.sizes, last.sizes, earlier)
    moved = jnp.where(progress.done, progress.moved, last.moved)
    earlier = jnp.where(progress.done, progress.earlier, earlier)
    # A worker is done only after its predecessors: their later moves would move it again.
    still = (still & (number < active)) | progress.done
    if plan.publish.staleness:
        still = still & (rests_on(progress, last, controls.stop.tolerance) | progress.done)
    done = jnp.cumprod(still | (number >= plan.rank)).astype(bool)
    if controls.stop.grow is not None:
        # Nobody else will be asked to join: the run ends when those who did are done.
        sizes = jnp.where(number < active, last.sizes, 0)
        more = controls.stop.grow.more(controls.threshold, sizes, active)
        done = done | (~more & jnp.all(still | (number >= active)))
    newest = (progress.past, progress.past_active), (progress.factors, progress.active)
    past, past_active = jax.tree.map(lambda x, y: jnp.append(x, y[None], axis=0)[1:], *newest)
    return Progress(
        factors=new,
        moved=moved,
        earlier=earlier,
        sizes=last.sizes,
        done=done,
        spent=progress.spent + working,
        active=active,
        round=progress.round + 1,
        key=progress.key,
        past=past,
        past_active=past_active,
    )


def _shifted(progress: Progress) -> jax.Array:
    """The moves of the two rounds before the next one (2, r)."""
    return jnp.stack([progress.earlier[1], progress.moved])


def _settled(controls: Controls, moved, sizes, every, earlier) -> jax.Array:
    """Which of some components are within the tolerance, beside the sizes of `every` one."""
    stop = controls.stop
    rate = earlier if stop.tolerance_of == "error" else None
    return settled(moved, sizes, rounding(every), stop.tolerance, rate)


def _working(plan: Plan, progress: Progress, active) -> jax.Array:
    """Workers that take part in the next round (r,)."""
    number = jnp.arange(progress.done.shape[0])
    return (number < _joined(plan, active)) & (number < plan.rank) & ~progress.done


def _joined(plan: Plan, active) -> jax.Array | int:
    """How many workers refine: all of them, or without advance learning those that publish."""
    return plan.rank if plan.publish.advance else active


def unless(finished, new: Progress, old: Progress) -> Progress:
    """old where the run is finished, new elsewhere."""
    # A typed key has no arithmetic; it does not change in a round.
    kept = jax.tree.map(
        lambda x, y: jnp.where(finished, y, x), new._replace(key=()), old._replace(key=())
    )
    return kept._replace(key=old.key)


def _grown(plan: Plan, controls: Controls, progress: Progress) -> jax.Array:
    """Published components after this round: one more if staggered and the rule wants more.

    The next worker joins in the first round in which it sees all workers before it: one that has
    not seen its predecessor would publish the same component once more.
    """
    if plan.way == "joint" or (not plan.publish.staggered and controls.stop.grow is None):
        return jnp.asarray(plan.rank, jnp.int32)
    more = progress.active + 1
    if controls.stop.grow is not None:
        sizes = jnp.where(_first(progress.active, progress.done), progress.sizes, 0)
        wanted = controls.stop.grow.more(controls.threshold, sizes, progress.active)
        more = jnp.where(wanted, more, progress.active)
    if plan.publish.staleness:
        more = jnp.where(sight(progress).active >= progress.active, more, progress.active)
    return jnp.minimum(more, plan.rank).astype(jnp.int32)


def _first(count, like) -> jax.Array:
    return jnp.arange(like.shape[0]) < count


def sequential_round(problem, solver, plan: Plan, controls: Controls, progress: Progress):
    """The current component takes one step; done ones are frozen."""
    current = jnp.sum(progress.done)
    index = current[None]
    visible = _first(current, progress.done)
    weights = predecessors(index, visible)
    block = work(
        problem,
        solver,
        progress.factors,
        index,
        weights,
        jnp.ones(1, bool),
        orthogonal=plan.extensions.orthogonal,
    )
    new = _write(progress.factors, index, block)
    # Of the block alone: looking at all components would cost as much as the products.
    last = moves(block, block_of(progress.factors, index))
    sizes = progress.sizes.at[index].set(last.sizes)
    earlier = _shifted(progress)[:, index]
    still = _settled(controls, last.moved, last.sizes, sizes, earlier)
    spent = progress.spent.at[current].add(1)
    moved = progress.moved.at[index].set(last.moved)
    earlier = progress.earlier.at[:, index].set(earlier)
    before = jnp.sum(spent) - spent[current]
    if plan.online:
        unused = jnp.sum(controls.steps) - before
        seen = unused, moved, earlier, last.sizes[0], rounding(sizes)
        ended = had_its_share(current, spent[current], *seen)
    elif plan.passes_on:
        ended = spent[current] >= jnp.cumsum(controls.steps)[current] - before
    else:
        ended = spent[current] >= controls.steps[current]
    finished = ended | still[0]
    done = progress.done.at[current].set(finished)
    if controls.stop.grow is not None:
        known = jnp.where(_first(current + 1, done), sizes, 0)
        more = controls.stop.grow.more(controls.threshold, known, current + 1)
        done = done | (finished & ~more)
    new = _between_components(problem, solver, plan, new, current + 1, finished)
    return Progress(
        factors=new,
        moved=moved,
        earlier=earlier,
        sizes=norms(new) if plan.extensions.reoptimise or plan.extensions.full_rank else sizes,
        done=done,
        spent=spent,
        active=jnp.maximum(progress.active, current + 1).astype(jnp.int32),
        round=progress.round + 1,
        key=progress.key,
        past=progress.past,
        past_active=progress.past_active,
    )


def _write(factors: Components, index, block: Components) -> Components:
    return Components(*(x.at[index].set(y) for x, y in zip(factors, block, strict=True)))


def _between_components(problem, solver, plan: Plan, factors, count, finished) -> Components:
    """The extensions that act when a component is finished; both are off by default."""
    for every, action in (
        (plan.extensions.reoptimise, lambda f: _reoptimise(problem, solver, f, count)),
        (plan.extensions.full_rank, lambda f: _full_rank_step(problem, f, count)),
    ):
        if every:
            due = finished & (count % every == 0)
            factors = jax.lax.cond(due, action, lambda f: f, factors)
    return factors


def _reoptimise(problem, solver, factors: Components, count) -> Components:
    """One round for each of the first `count` components against all the others, in turn."""
    visible = _first(count, factors.a[:, 0])

    def refine(k, factors):
        index = k[None]
        block = work(problem, solver, factors, index, others(index, visible), jnp.ones(1, bool))
        return _write(factors, index, block)

    return jax.lax.fori_loop(0, count, refine, factors)


def _full_rank_step(problem, factors: Components, count) -> Components:
    """One alternating least-squares step of the whole model of the first `count` components:
    all b jointly for fixed a, then all a jointly for fixed b."""
    visible = _first(count, factors.a[:, 0])
    live = Components(*(jnp.where(visible[:, None], rows, 0) for rows in factors))
    b = _least_squares(live.a, times(problem.target, live.a))
    a = _least_squares(b, times_transposed(problem.target, b))
    keep = visible[:, None]
    return Components(jnp.where(keep, b, factors.b), jnp.where(keep, a, factors.a))


def _least_squares(rows: jax.Array, images: jax.Array) -> jax.Array:
    """(rows rows^T)^+ images: the other factor's best values; zero rows stay zero."""
    return product(jnp.linalg.pinv(product(rows, rows.T), hermitian=True), images)
