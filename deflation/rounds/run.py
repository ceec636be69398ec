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

from deflation.problem import implicit
from deflation.problem.components import Components
from deflation.problem.units import converted, enter, scaled
from deflation.rounds.exchange import loop, sharded_rounds
from deflation.rounds.outcome import judge
from deflation.rounds.rounds import parallel_round, sequential_round, unless
from deflation.rounds.state import Progress, Solution, State, Status
from rankwise import checks
from rankwise.compiling import is_part_of_program, jit_quickly

LEAST_ROWS = 256  # of the history that a compiled program has room for
# Entries of all factors up to which a round's loops over them take less than half a millisecond
# without optimisation, 0.1 with it, which takes a second more to compile: that of 2000 rounds.
FEW = 4096


def advance(state: State, rounds: int) -> State:
    """Runs up to `rounds` more rounds; fewer if every component is done before.

    Args:
      state: from `start`, `advance`, or `load`.
      rounds: at least 1. All numbers up to 256, and then up to the next power of two, share a
        program, unless `advance` is itself part of one.

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
    rows = rounds if is_part_of_program(inputs) else max(LEAST_ROWS, 1 << (rounds - 1).bit_length())
    inputs = jax.tree.map(_constant, inputs)
    progress, history = _advance(*inputs, np.int32(rounds), state.plan, rows)
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
      certify: bound the errors (see `Solution`). For m >= d this takes 5 r + 37 products with M
        and 4 r + 21 with M^T (of an operator 3 r + 37 and 2 r + 21), and two copies of an array.
        Without it the bounds are infinite, and no run is said to have converged.
    """
    checks.instance("state", state, State, "a State, as start returns it")
    certify = checks.flag("certify", certify)
    plan = state.plan
    inputs = (state.problem, state.solver, state.controls, state.progress)
    inputs = jax.tree.map(_constant, inputs)
    factors, bounds, code, component, rank = judge(*inputs, plan, certify)
    keep = None if state.controls.stop.grow is None else rank
    return Solution(
        components=answer(state.problem, state.controls.unit, factors, keep, plan.way == "joint"),
        status=code if checks.traced(code) else Status(int(code)),
        rounds=state.progress.round,
        history=state.history,
        rank=rank,
        component=component,
        bounds=bounds.components,
        bound_of_sum=bounds.of_sum,
        proved=bounds.proved,
    )


@functools.partial(jit_quickly, static_argnames=("joint",))
def answer(problem, unit, factors: Components, keep=None, joint: bool = False) -> Components:
    """Published factors with their derivative, in original coordinates and the user's units.

    Args:
      keep: how many of them there are; None for all.
    """
    attach = implicit.refuse if joint else implicit.attach
    factors = attach(scaled(problem, unit).target, factors)
    factors = factors._replace(b=factors.b * unit)
    if keep is not None:
        kept = (jnp.arange(factors.a.shape[0]) < keep)[:, None]
        factors = Components(*(jnp.where(kept, rows, 0) for rows in factors))
    return problem.to_original(factors)


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


def _level(problem, solver, controls, progress, limit, plan, rows) -> int:
    """Of XLA's optimisations, see `FEW`."""
    return 0 if plan.rank * sum(problem.shape) <= FEW else 1


@functools.partial(jit_quickly, level=_level, static_argnames=("plan", "rows"))
def _advance(problem, solver, controls, progress, limit, plan, rows):
    inputs = enter(problem, solver, controls, progress)
    if plan.devices.mesh is None:
        problem, solver, controls, progress = inputs
        one = functools.partial(_round, problem, solver, plan, controls)
        progress, history = loop(one, progress, limit, rows)
    else:
        progress, history = sharded_rounds(*inputs, limit, plan, rows)
    unit = controls.unit
    return converted(solver, progress, unit), jax.tree.map(lambda rows: rows * unit, history)


def _round(problem, solver, plan, controls, progress) -> Progress:
    """One round on one device."""
    if plan.way == "sequential":
        return sequential_round(problem, solver, plan, controls, progress)
    index = jnp.arange(plan.rank)
    return parallel_round(problem, solver, plan, controls, progress, index, lambda block: block)
