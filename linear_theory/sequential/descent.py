"""Whole trajectories: `deflation.step` inside a scan, with a measurement after every round.

Legend: S schedules, N trials, T iterations of all components together, r components.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation import Components, Regression, State, start, step
from deflation.problem.components import distances
from linear_theory.instances.recording import trajectory


class Descent(NamedTuple):
    """Sequential runs of S schedules and N trials.

    Attributes:
      training: ||Y - W_t X||_F after iteration t + 1, (S, N, T).
      reconstruction: ||W - W_t||_F, (S, N, T).
      component: the component that iteration t + 1 worked on, from 0, (S, N, T).
      running: its factors then, (S, N, T, m) and (S, N, T, d).
      final: the factors at the end, (S, N, r, m) and (S, N, r, d).
    Factors are in original coordinates. What a run was not asked to record is None; T is 1 where
    only the end was wanted.
    """

    training: jax.Array
    reconstruction: jax.Array
    component: jax.Array | None
    running: Components | None
    final: Components


def descend(problem: Regression, truth, solver, steps, first: Components, **options) -> Descent:
    """Sequential deflation with every schedule from all first factors.

    Args:
      problem: one Regression, or N stacked ones (a leading axis), one for each trial.
      truth: the true map (m, d).
      solver: the rank-one solver.
      steps: iterations of every component, (S, r); all schedules have the same sum T.
      first: first factors (N, r, m), (N, r, d).
      record: "curves" (errors after every iteration), "factors" (these and the running factors) or
        "end" (errors at the end alone, which compiles once for all T).
      rounds: iterations to record, at least T and T when None; after T nothing changes.
      stop: ends a component when an iteration changes the training error by less than this, and
        passes its unused iterations on; None never does. Not with record="end".
      **options: of `deflation.sequential`: orthogonal, reoptimise, full_rank.

    Returns:
      A Descent. Where a run stops before T the last values repeat.
    """
    record, stop = options.pop("record", "curves"), options.pop("stop", None)
    steps = jnp.asarray(steps)
    rounds = options.pop("rounds", None) or int(steps[0].sum())
    if record == "end":
        return _ends(problem, truth, solver, steps, first, rounds, tuple(options.items()))
    recorded = (rounds, record == "factors", stop is not None, tuple(options.items()))
    return _curves(problem, truth, solver, steps, first, stop or 0.0, *recorded)


def errors(problem: Regression, truth: jax.Array, factors: Components) -> tuple:
    """(||Y - W X||_F, ||W - W_r||_F) of whitened factors, from the differences themselves."""
    recovered = problem.to_original(factors)
    return problem.residual(recovered), jnp.linalg.norm(truth - recovered.matrix())


@functools.partial(jax.jit, static_argnums=(6, 7, 8, 9))
def _curves(problem, truth, solver, steps, first, stop, rounds, keep_factors, stops, options):
    def curves(problem, steps, first):
        def measure(before, after):
            current = jnp.sum(before.progress.done)
            training, reconstruction = errors(problem, truth, after.progress.factors)
            running = None
            if keep_factors:
                factors = problem.to_original(after.progress.factors)
                running = Components(factors.b[current], factors.a[current])
            return training, reconstruction, current, running

        state = _start(problem, solver, steps, first, dict(options), passes_on=stops)
        if stops:
            state, measured = _stopped(state, rounds, measure, stop)
        else:
            state, measured = trajectory(state, rounds, measure)
        return Descent(*measured, problem.to_original(state.progress.factors))

    return _all(curves, problem)(problem, steps, first)


@functools.partial(jax.jit, static_argnums=6)
def _ends(problem, truth, solver, steps, first, rounds, options):
    def ends(problem, steps, first):
        state = _start(problem, solver, steps, first, dict(options))
        # A loop of a traced length: budgets of every total share this program.
        state = jax.lax.fori_loop(0, rounds, lambda _, state: step(state), state)
        factors = state.progress.factors
        measured = (value[None] for value in errors(problem, truth, factors))
        return Descent(*measured, None, None, problem.to_original(factors))

    return _all(ends, problem)(problem, steps, first)


def _all(function, problem):
    """`function` over trials, then over schedules."""
    stacked = 0 if problem.target.ndim == 3 else None
    return jax.vmap(jax.vmap(function, in_axes=(stacked, None, 0)), in_axes=(None, 0, None))


def _start(problem, solver, steps, first, options, passes_on=False) -> State:
    """A sequential run whose budget is data."""
    rank = first.b.shape[0]
    state = start(problem, rank, solver, method="sequential", init=first, **options)
    return dataclasses.replace(
        state,
        controls=state.controls._replace(steps=steps.astype(jnp.int32)),
        plan=dataclasses.replace(state.plan, passes_on=passes_on),
    )


def _stopped(state: State, rounds: int, measure, stop):
    """`trajectory` with the rule of the released code: a component ends when the error stalls.

    The library's tolerance looks at the component itself instead, which costs nothing.
    """

    def stopped_step(carry, _):
        before, last = carry
        after = step(before)
        measured = measure(before, after)
        still = jnp.abs(last - measured[0]) < stop
        # Not a mask of all components: those to come have not moved either.
        done = after.progress.done | (still & (jnp.arange(before.plan.rank) == measured[2]))
        after = dataclasses.replace(after, progress=after.progress._replace(done=done))
        return (after, measured[0]), measured

    (state, _), measured = jax.lax.scan(stopped_step, (state, jnp.inf), None, length=rounds)
    return state, measured


@jax.jit
def step_errors(problem: Regression, final: Components, running: Components, component):
    """||Psi|| of rank-one steps against the exact minimisers for their targets, in W.

    Psi_k = b_k a_k^T - b*_k a*_k^T with (b*_k, a*_k) the best rank-one step on Y_k, what the run's
    own earlier components leave. The norm is of the maps, as in the released code; the theorems
    need that of their images under X, which lies between its products with the extreme singular
    values of X.

    Args:
      problem: one Regression, for all runs.
      final: final factors, (runs, r, m) and (runs, r, d), original coordinates.
      running: factors to judge, (runs, T, m) and (runs, T, d).
      component: the components they belong to, from 0, (runs, T).

    Returns:
      (runs, T), in units of W.

    Source: arXiv 2505.22602, definition 1.
    """

    def best(factors, k):
        earlier = jnp.arange(factors.b.shape[0])[:, None] < k
        rest = problem.target - Components(jnp.where(earlier, factors.b, 0), factors.a).matrix()
        u, s, vt = jnp.linalg.svd(rest, full_matrices=False)
        return s[0] * u[:, 0], vt[0]

    def errors_of_run(run):
        final, running, component = run
        factors = problem.to_whitened(final)
        numbers = jnp.arange(factors.b.shape[0])
        exact = problem.to_original(Components(*jax.lax.map(lambda k: best(factors, k), numbers)))
        return distances(running, Components(exact.b[component], exact.a[component]))

    return jax.lax.map(errors_of_run, (final, running, component))
