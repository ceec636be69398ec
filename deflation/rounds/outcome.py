"""How a run ended: published factors, their bounds, status, and the rank that was kept."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.components import Components, norms
from deflation.problem.targets import Scaled
from deflation.problem.units import enter
from deflation.rounds.bounds import Bounds, certify, unknown
from deflation.rounds.state import Controls, Plan, Progress, Status
from deflation.rounds.stopping import remaining, rounding
from rankwise import checks
from rankwise.compiling import jit_quickly

# Relative gap below which components that still move are taken to turn into each other.
NEAR = 0.1
# Distance of the sum from the best one, relative to a component: it adds less than 1e-6 of that
# component's energy to the residual's.
SUM_LAG = 1e-3
# What rounding leaves of a component whose gaps are about as large as itself, in units of `noise`:
# zero components that came out at 2 were bounded by 17.
FLOOR = 32


@jit_quickly
def published(problem, solver, controls: Controls, progress: Progress):
    """What a run publishes, in its own units.

    Returns:
      factors (r, .) in whitened coordinates, how many of them are kept, and how far each may still
      move (r,).
    """
    problem, solver, controls, progress = enter(problem, solver, controls, progress)
    most = progress.factors.a.shape[0]
    visible = jnp.arange(most) < progress.active
    factors = solver.finish(progress.factors)
    factors = Components(*(jnp.where(visible[:, None], rows, 0) for rows in factors))
    sizes = norms(factors)
    rank = jnp.asarray(most)
    if controls.stop.grow is not None:
        rank = jnp.minimum(progress.active, controls.stop.grow.keep(controls.threshold, sizes))
    left = progress.moved
    if controls.stop.tolerance_of == "error":
        left = remaining(progress.moved, progress.earlier, rounding(sizes))
    return factors, rank, jnp.where(visible, left, jnp.inf)


def judge(problem, solver, controls: Controls, progress: Progress, plan: Plan, certified: bool):
    """Publishes the factors of a run and says how it ended.

    Two programs, neither of which knows the plan: all runs on targets of one shape share the one
    that is long to compile, `measure`. The rest is done on the host.

    Returns:
      published factors (r, .) in whitened coordinates and units of the run, their Bounds in the
      user's, the status code, the component it speaks of (from 1; 0 for none), and the number of
      components kept.
    """
    factors, rank, left = published(problem, solver, controls, progress)
    unit = checks.on_host(controls.unit)
    if certified:
        target = Scaled(problem.target, 1 / unit)
        if checks.in_memory(problem.target):  # there the bounds are of numpy
            bounds = certify(target, factors, rank)
        else:
            bounds = certify(*_beside(problem.target, (target, factors, rank)))
    else:
        bounds = unknown(plan.rank, problem.dtype)
    joint = plan.way == "joint"
    code, component = verdict(factors, bounds, rank, controls.stop.tolerance, left, joint=joint)
    return factors, bounds.multiplied(unit), code, component, rank


def _beside(target, inputs):
    """The inputs on M's device, where M is on one and a sharded run left copies on all of its own.

    What is computed from them then is not computed on every device, nor compiled for every mesh.
    """
    leaves = jax.tree.leaves((target, inputs))
    if not all(isinstance(leaf, jax.Array) for leaf in leaves) or checks.traced(leaves):
        return inputs
    devices = target.devices() if isinstance(target, jax.Array) else ()
    whole = all(leaf.is_fully_addressable and leaf.is_fully_replicated for leaf in leaves)
    return jax.device_put(inputs, *devices) if whole and len(devices) == 1 else inputs


def verdict(factors: Components, bounds: Bounds, kept, tolerance=-1.0, left=0.0, joint=False):
    """The status code and the component it speaks of.

    Args:
      factors: published, whitened.
      bounds: of them.
      kept: how many of them are meant.
      tolerance: of a component, relative to its size; negative is sqrt(eps), as none was given.
      left: how far every component may still move (r,).
      joint: whether the sum alone is judged.
    """
    inputs = (factors, bounds, kept, tolerance, left)
    if checks.traced(inputs):
        return _traced_verdict(*inputs, joint=joint)
    # A few dozen operations on r numbers: on the host they take less time than to compile.
    with np.errstate(all="ignore"):  # infinite bounds and NaN in factors are cases of it
        return _verdict(np, *jax.tree.map(np.asarray, inputs), joint)


@functools.partial(jax.jit, static_argnames="joint")
def _traced_verdict(*inputs, joint: bool):
    """One program also under a transformation that is not part of one, as jax.vmap."""
    return _verdict(jnp, *inputs, joint)


def _verdict(xp, factors: Components, bounds: Bounds, kept, tolerance, left, joint: bool):
    sizes = norms(factors, xp)
    number = xp.arange(sizes.shape[0])
    among = number < kept
    wanted = xp.where(tolerance >= 0, tolerance, xp.sqrt(xp.finfo(sizes.dtype).eps))
    floor = FLOOR * bounds.noise
    if joint:  # single components mean nothing there
        whole = xp.linalg.norm(xp.where(among, sizes, 0))
        open_ = among & ~(bounds.of_sum <= wanted * whole + floor)
        limited = xp.zeros_like(open_)
    else:
        open_ = among & ~(bounds.components <= wanted * sizes + floor)
        limited = open_ & (bounds.limits + bounds.noise > wanted * sizes + floor)
    moving = open_ & ~(left <= wanted * sizes + rounding(sizes, xp))
    gap = xp.abs(sizes - xp.append(sizes[1:], 0)) / xp.where(sizes > 0, sizes, 1)
    gap = xp.where(number < kept - 1, gap, xp.inf)  # to the next one, inf at the last
    # Neighbours that still turn into each other while their sum is already a best one.
    turning = limited | (xp.minimum(gap, xp.append(xp.inf, gap[:-1])) <= NEAR)
    near = xp.maximum(SUM_LAG, wanted) * sizes + floor
    summed = bounds.of_sum <= near
    # Equal values on both sides of the rank: they go on turning, and no round helps.
    cut = limited & (bounds.sum_limit > near)
    finite = xp.all(xp.isfinite(factors.b), axis=1) & xp.all(xp.isfinite(factors.a), axis=1)
    cases = [
        (~finite, Status.NOT_FINITE),
        (moving & turning & summed & (not joint), Status.SMALL_GAP),
        (moving & ~cut, Status.BUDGET_SPENT),
        (open_ & ~limited, Status.NOT_PROVED),
        (open_ & summed, Status.SMALL_GAP),
        (open_, Status.RANK_CUTS_GROUP),
    ]
    code, component = xp.asarray(int(Status.CONVERGED)), xp.asarray(0)
    for where, status in reversed(cases):
        hit = xp.any(where)
        code = xp.where(hit, int(status), code)
        component = xp.where(hit, xp.argmax(where) + 1, component)
    return code, component
