"""How a run ended: published factors, status, and the rank that was kept."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from deflation.components import Components, norms, product
from deflation.state import Controls, Plan, Progress
from deflation.status import Status
from deflation.targets import times, times_transposed
from deflation.worker import remaining, rounding

# Relative gap below which components that still move are taken to turn into each other.
NEAR = 0.1
# Distance of their sum from the best one, relative to the smallest component: it adds less than
# 1e-6 of that component's energy to the residual's.
SUM_LAG = 1e-3


@functools.partial(jax.jit, static_argnames=("plan",))
def judge(problem, solver, controls: Controls, progress: Progress, plan: Plan):
    """Publishes the factors of a run and says how it ended.

    Returns:
      published factors (r, .) in whitened coordinates, the status code, the component it speaks of
      (from 1; 0 for none), and the number of components kept.
    """
    number = jnp.arange(plan.rank)
    published = number < progress.active
    factors = solver.finish(progress.factors)
    factors = Components(*(jnp.where(published[:, None], rows, 0) for rows in factors))
    sizes = norms(factors)
    rank = jnp.asarray(plan.rank)
    if controls.rule is not None:
        rank = jnp.minimum(progress.active, controls.rule.keep(controls.threshold, sizes))
    code, component = _status(problem, controls, progress, plan, factors, sizes, rank)
    return factors, code, component, rank


def _status(problem, controls, progress, plan, factors, sizes, rank):
    number = jnp.arange(plan.rank)
    kept = number < rank
    root_eps = jnp.sqrt(jnp.finfo(sizes.dtype).eps)
    wanted = jnp.where(controls.tolerance >= 0, controls.tolerance, root_eps)
    floor = rounding(sizes)
    left = progress.moved
    if plan.tolerance_of == "error":
        left = remaining(progress.moved, progress.earlier, floor)
    moving = kept & ~(left <= wanted * sizes + floor)
    if plan.way == "joint":  # single components mean nothing there
        tied = turning = jnp.zeros_like(moving)
    else:
        gap = jnp.abs(sizes - jnp.append(sizes[1:], 0)) / jnp.where(sizes > floor, sizes, 0)
        gap = jnp.where(number < rank - 1, gap, jnp.inf)  # to the next one, inf at the last
        # Perturbation theory divides rounding by the gap: below this nothing is determined.
        tied = gap <= root_eps
        # Neighbours that still turn into each other while their sum is already a best one.
        close = jnp.minimum(gap, jnp.append(jnp.inf, gap[:-1])) <= NEAR
        turning = moving & close
        turning &= _sum_is_best(problem, factors, sizes, kept, progress.moved, jnp.any(turning))
    not_finite = ~(
        jnp.all(jnp.isfinite(factors.b), axis=1) & jnp.all(jnp.isfinite(factors.a), axis=1)
    )
    cases = [
        (not_finite, Status.NOT_FINITE),
        (turning, Status.SMALL_GAP),
        (moving, Status.BUDGET_SPENT),
        (tied, Status.SMALL_GAP),
    ]
    code, component = jnp.asarray(int(Status.CONVERGED)), jnp.asarray(0)
    for where, status in reversed(cases):
        hit = jnp.any(where)
        code = jnp.where(hit, int(status), code)
        component = jnp.where(hit, jnp.argmax(where) + 1, component)
    return code, component


def _sum_is_best(problem, factors: Components, sizes, kept, moved, asked) -> jax.Array:
    """Whether the sum of the components is a best approximation, although they still move.

    With Q an orthonormal basis of the right factors, U one of M Q: their span has to be invariant,
    ||(I - Q Q^T) M^T U|| at rounding. While two of them turn into each other the later one lags a
    round behind, so that the sum is off by a share of the turn; SUM_LAG bounds that distance from
    M Q Q^T. Both relative to the smallest component kept. False at once where it is not `asked`.

    That costs 2 r products with M. In most runs that are not done one product answers before: in a
    unit vector v of the span, |(sum R_k - M) v| is at most that distance.
    """
    a = jnp.where(kept[:, None], factors.a, 0)
    smallest = jnp.min(jnp.where(kept, sizes, jnp.inf))

    def near_along_one():
        v = jax.lax.dynamic_index_in_dim(a, jnp.argmax(jnp.where(kept, moved, -1)))
        lag = jnp.linalg.norm(product(product(v, a.T), factors.b) - times(problem.target, v))
        return lag <= SUM_LAG * smallest

    def in_all():
        q = jnp.linalg.qr(jnp.where(jnp.isfinite(a), a, 0).T)[0].T
        projected = times(problem.target, q)  # (r, m) = (M Q)^T
        u = jnp.linalg.qr(projected.T)[0].T
        image = times_transposed(problem.target, u)
        outside = jnp.linalg.norm(image - product(product(image, q.T), q))
        lag = jnp.linalg.norm(product(product(q, a.T), factors.b) - projected)
        root_eps = jnp.sqrt(jnp.finfo(sizes.dtype).eps)
        return (outside <= root_eps * smallest) & (lag <= SUM_LAG * smallest)

    def no():
        return jnp.asarray(False)

    return jax.lax.cond(asked, lambda: jax.lax.cond(near_along_one(), in_all, no), no)
