"""A run in three parts: `start`, `advance` as often as wanted, `finish`. All ways go through here.

    start    validates, draws or takes the first factors       -> State
    advance  runs rounds inside one compiled while loop        -> State
    finish   publishes factors, judges the outcome             -> Solution

Gradients do not pass through the loop (it stops early, so it has no reverse mode): inputs of the
loop are cut off, and `finish` attaches the derivative of the answer itself (implicit.py).
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from deflation import checks, implicit
from deflation.components import Components
from deflation.outcome import judge
from deflation.overlap import overlapped
from deflation.rounds import Block, parallel_round, sequential_round, unless
from deflation.state import History, Progress, Solution, State, no_history, recorded
from deflation.status import Status
from deflation.targets import RowBlock, Scaled
from deflation.units import converted, enter, scaled


def advance(state: State, rounds: int) -> State:
    """Runs up to `rounds` more rounds; fewer if every component is done before.

    Args:
      state: from `start`, `advance`, or `load`.
      rounds: at least 1. A change of it recompiles, so use equal portions.

    Returns:
      The state after them, its history extended. advance(advance(s, 2), 3) equals advance(s, 5),
      bitwise on the same devices.

    Raises:
      ValueError: rounds < 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, start
      >>> state = start(Regression.from_matrix(jnp.diag(jnp.arange(1.0, 5.0))), rank=2)
      >>> int(advance(advance(state, 2), 3).progress.round)
      5
    """
    checks.instance("state", state, State, "a State, as start returns it")
    rounds = checks.integer("rounds", rounds, 1)
    inputs = (state.problem, state.solver, state.controls, state.progress)
    progress, history = _advance(*jax.tree.map(_constant, inputs), state.plan, rounds)
    join = jnp.concatenate
    if not checks.traced((state.history, history)):
        # On the host: its shape is new every time.
        join, history = np.concatenate, jax.tree.map(np.asarray, history)
    if not checks.traced((progress.round, state.progress.round)):
        ran = int(progress.round) - int(state.progress.round)
        history = jax.tree.map(lambda rows: rows[:ran], history)
    joined = jax.tree.map(lambda x, y: join([x, y]), state.history, history)
    return dataclasses.replace(state, progress=progress, history=joined)


def finish(state: State, *, certify: bool = True) -> Solution:
    """The Solution at the current state; the run can go on afterwards.

    Differentiable with respect to the problem's target (so, through `Regression.from_data`, to y).

    Args:
      state: from `start`, `advance`, or `load`.
      certify: bound the errors (see `Solution`), for about 2 r + 40 products with M and r + 20
        with M^T.
        Without it the bounds are infinite, and no run is said to have converged.
    """
    checks.instance("state", state, State, "a State, as start returns it")
    certify = checks.flag("certify", certify)
    plan = state.plan
    inputs = (state.problem, state.solver, state.controls, state.progress)
    inputs = jax.tree.map(_constant, inputs)
    factors, bounds, code, component, rank = _judge(*inputs, plan, certify)
    attach = implicit.refuse if plan.way == "joint" else implicit.attach
    unit = state.controls.unit
    factors = attach(scaled(state.problem, unit).target, factors)
    factors = factors._replace(b=factors.b * unit)
    if state.controls.rule is not None:
        keep = (jnp.arange(plan.rank) < rank)[:, None]
        factors = Components(*(jnp.where(keep, rows, 0) for rows in factors))
    return Solution(
        components=state.problem.to_original(factors),
        status=code if checks.traced(code) else Status(int(code)),
        rounds=state.progress.round,
        history=state.history,
        rank=rank,
        component=component,
        bounds=bounds.components,
        bound_of_sum=bounds.of_sum,
        proved=bounds.proved,
    )


def step(state: State) -> State:
    """One round, without history: the building block of scans that record whole trajectories.

    Unlike `advance` it has a fixed cost and no loop, so it may sit inside `jax.lax.scan`; a run
    whose components are all done does not change any more.
    """
    checks.instance("state", state, State, "a State, as start returns it")
    old = state.progress
    problem, solver, controls, own = enter(state.problem, state.solver, state.controls, old)
    new = _round(problem, solver, state.plan, controls, own)
    new = converted(solver, new, state.controls.unit)
    return dataclasses.replace(state, progress=unless(jnp.all(old.done), new, old))


def _constant(leaf):
    """The leaf without a derivative; concrete numbers, random keys and integers have none."""
    if isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jax.lax.stop_gradient(leaf)
    return leaf


@functools.partial(jax.jit, static_argnames=("plan", "rounds"))
def _advance(problem, solver, controls, progress, plan, rounds):
    inputs = enter(problem, solver, controls, progress)
    if plan.mesh is None:
        problem, solver, controls, progress = inputs
        one = functools.partial(_round, problem, solver, plan, controls)
        progress, history = _loop(one, progress, rounds)
    else:
        progress, history = _sharded(*inputs, plan, rounds)
    unit = controls.unit
    return converted(solver, progress, unit), jax.tree.map(lambda rows: rows * unit, history)


@functools.partial(jax.jit, static_argnames=("plan", "certified"))
def _judge(problem, solver, controls, progress, plan, certified):
    """`judge` in the run's own units; its bounds in the user's."""
    own = enter(problem, solver, controls, progress)
    factors, bounds, *outcome = judge(*own, plan, certified)
    return factors, bounds.multiplied(controls.unit), *outcome


def _round(problem, solver, plan, controls, progress) -> Progress:
    """One round on one device."""
    if plan.way == "sequential":
        return sequential_round(problem, solver, plan, controls, progress)
    index = jnp.arange(plan.rank)
    return parallel_round(problem, solver, plan, controls, progress, index, lambda block: block)


def _loop(one_round, progress: Progress, rounds: int) -> tuple[Progress, History]:
    def unfinished(carry):
        count, progress, _ = carry
        return (count < rounds) & ~jnp.all(progress.done)

    def body(carry):
        count, progress, history = carry
        progress = one_round(progress)
        return count + 1, progress, recorded(history, count, progress)

    carry = (jnp.zeros((), jnp.int32), progress, no_history(progress, rounds))
    _, progress, history = jax.lax.while_loop(unfinished, body, carry)
    return progress, history


def _sharded(problem, solver, controls, progress, plan, rounds):
    """The same rounds with a block of workers per device.

    Component k lives on device k mod P at slot k div P, so that the load is even while workers
    join. The factors a device reads are gathered ones, replicated; its own block is a slice of
    them. So a round has one collective, the all-gather of (b_k, a_k) and of what is decided from,
    how far they moved and their sizes: P ceil(r/P) (m + d + 2) numbers. With stale predecessors it
    runs beside the next round's products, see overlap.py.

    Where rows of M are cut along a second axis, products with M are exchanged along it (RowBlock),
    and all else is done by all devices of a worker alike.
    """
    axis, devices = plan.axis, plan.mesh.shape[plan.axis]
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

    def run(problem, solver, controls, progress):
        if plan.row_axis is not None:
            block = RowBlock(problem.target.target, plan.row_axis, (m, d))
            target = dataclasses.replace(problem.target, target=block)
            problem = problem._replace(target=target)
        index = jax.lax.axis_index(axis) + devices * jnp.arange(slots)
        if plan.staleness:
            return overlapped(
                problem, solver, plan, controls, progress, index, exchange, rounds=rounds
            )

        def one(progress):
            return parallel_round(problem, solver, plan, controls, progress, index, exchange)

        return _loop(one, progress, rounds)

    everywhere = jax.sharding.PartitionSpec()
    here, axes = everywhere, {axis}
    if plan.row_axis is not None:
        here, axes = jax.tree.map(lambda _: everywhere, problem), {axis, plan.row_axis}
        cut = jax.sharding.PartitionSpec(plan.row_axis)
        here = here._replace(target=Scaled(cut, everywhere))
    run = jax.shard_map(
        run,
        mesh=plan.mesh,
        in_specs=(here, everywhere, everywhere, everywhere),
        out_specs=everywhere,
        axis_names=axes,
    )
    padded = _resize(progress, slots * devices)
    progress, history = run(problem, solver, controls, padded)
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
