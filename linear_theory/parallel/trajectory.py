"""Recorded runs of the deflation solvers: what every worker holds, sees and reaches, every round.

What a round reaches takes a factorisation of every target, nearly all of the time of both programs
together, and many statements do not look at it: it is a program of its own, `reach`.

Legend: M (m, d) the whitened target with singular triples (s_i, u_i, v_i); R_{k,l} = b a^T what
worker k holds after round l = 0, ..., L, R*_k = s_k u_k v_k^T what it is after; M_{k,l} the target
of worker k in round l, which is M minus the components that its predecessors had published after
round l - 1 - tau, tau the staleness; M*_k = M - sum_{j<k} R*_j; R^_{k,l} the best rank-one
approximation of M_{k,l}.
Norms are Frobenius norms. k and l count from 1 in formulas; array axes are (round, worker).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

import deflation
from deflation import Components, State
from deflation.rounds.stopping import sight
from linear_theory.instances.random_matrices import norm
from linear_theory.parallel.problems import Problem

ROUNDS = 64


class Trajectory(NamedTuple):
    """A recorded run. L + 1 entries where the start is included, else L, the rounds 1, ..., L.

    Attributes:
      factors: whitened b (L + 1, r, m) and a (L + 1, r, d).
      published: whether the others see worker k after round l (L + 1, r).
      error: E_{k,l} = ||R_{k,l} - R*_k||, in private too, (L + 1, r).
      shown: the same as the others see it: s_k while nothing is published, (L + 1, r).
      modes: <v_i, a>/|a|, the sign that makes entry i = k positive, (L + 1, r, K).
      mismatch: ||M_{k,l} - M*_k|| (L, r).
    """

    factors: Components
    published: jax.Array
    error: jax.Array
    shown: jax.Array
    modes: jax.Array
    mismatch: jax.Array


class Reach(NamedTuple):
    """What the rounds 1, ..., L of a recorded run reach.

    Attributes:
      before, after: ||R_{k,l-1} - R^_{k,l}|| and ||R_{k,l} - R^_{k,l}|| (L, r).
      ratio: second over first singular value of M_{k,l} (L, r).
      cosine: between a before the round and the top right singular vector of M_{k,l} (L, r).
    """

    before: jax.Array
    after: jax.Array
    ratio: jax.Array
    cosine: jax.Array


_CHOICES = ("rounds", "method", "staggered", "advance", "staleness")


@functools.partial(jax.jit, static_argnames=_CHOICES)
def record(
    problem: Problem,
    solver,
    rounds: int = ROUNDS,
    method: str = "parallel",
    staggered: bool = True,
    advance: bool = True,
    staleness: int = 0,
) -> Trajectory:
    """Runs `deflation.step` for `rounds` rounds on a batch of problems and measures each of them.

    Args:
      problem: a batch from `problems.draw`.
      solver: a deflation solver; numbers in it carry the batch's leading axis.
      rounds: L.
      method: "parallel" or "sequential", the latter with L / r rounds for each component.
      staggered, advance, staleness: as in `deflation.parallel`.

    Returns:
      A Trajectory with leading axis trials, in the problem's dtype.

    Raises:
      ValueError: as `deflation.start`.

    Example:
      >>> from linear_theory.parallel.problems import draw
      >>> batch = draw(jax.random.key(0), 3)
      >>> record(batch, deflation.alternating(), rounds=5).error.shape
      (3, 6, 4)
    """

    def follow(problem, solver):
        state = begin(problem, solver, rounds, method, staggered, advance, staleness)

        def body(state, _):
            after = deflation.step(state)
            others = sight(state.progress)
            visible = jnp.arange(problem.first.b.shape[0]) < others.active
            target, ideal = _targets(problem, others.factors, visible)
            return after, (_holds(problem, after), norm(target - ideal))

        start = _holds(problem, state)
        _, (later, mismatch) = jax.lax.scan(body, state, length=rounds)
        path = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), start, later)
        return Trajectory(**path, mismatch=mismatch)

    return jax.vmap(follow)(problem, solver)


@jax.jit
def reach(problem: Problem, trajectory: Trajectory, staleness: int = 0) -> Reach:
    """What every round of a recorded run reached, against the target that it was done for.

    Args:
      problem, staleness: as they were given to `record`.
      trajectory: what it returned.

    Example:
      >>> from linear_theory.parallel.problems import draw
      >>> batch = draw(jax.random.key(0), 3)
      >>> reach(batch, record(batch, deflation.alternating(), rounds=5)).after.shape
      (3, 5, 4)
    """

    def follow(problem, factors, published):
        first = _gram(problem.regression.target[None])  # nobody comes before the first worker

        def of_round(number):
            def at(index):
                return Components(*(rows[index] for rows in factors))

            visible = jnp.maximum(number - staleness, 0)  # before the start it is as at the start
            target, _ = _targets(problem, at(visible), published[visible])
            pairs = map(jnp.concatenate, zip(first, _gram(target[1:]), strict=True))
            return _reached(at(number), at(number + 1), target, *pairs)

        return jax.lax.map(of_round, jnp.arange(published.shape[0] - 1))

    return jax.vmap(follow)(problem, trajectory.factors, trajectory.published)


def begin(
    problem: Problem,
    solver,
    rounds: int,
    method: str = "parallel",
    staggered: bool = True,
    advance: bool = True,
    staleness: int = 0,
) -> State:
    """The state before the first round of one problem.

    Given factors count as a warm start in `deflation`, published at once. The theory starts cold
    from given directions as well, so the number of published components is set here.
    """
    own = {"staggered": staggered, "advance": advance, "staleness": staleness}
    state = deflation.start(
        problem.regression,
        problem.first.b.shape[0],
        solver,
        method=method,
        init=problem.regression.to_original(problem.first),
        **({"budget": rounds} if method == "sequential" else own),
    )
    if method == "sequential":
        return state
    before = jnp.full(staleness, problem.published)
    progress = state.progress._replace(active=problem.published, past_active=before)
    return dataclasses.replace(state, progress=progress)


def _holds(problem: Problem, state: State) -> dict:
    """What depends on the factors after a round alone."""
    factors, rank = state.progress.factors, problem.first.b.shape[0]
    exact = _products(problem.left.T[:rank], problem.right.T[:rank], problem.values[:rank])
    error = norm(_products(*factors) - exact)
    published = jnp.arange(rank) < state.progress.active
    length = jnp.linalg.norm(factors.a, axis=1, keepdims=True)
    modes = factors.a @ problem.right / jnp.where(length > 0, length, 1)
    own = jnp.diagonal(modes)[:, None]
    return {
        "factors": factors,
        "published": published,
        "error": error,
        "shown": jnp.where(published, error, problem.values[:rank]),
        "modes": jnp.where(own < 0, -modes, modes),
    }


def _targets(problem: Problem, others: Components, visible: jax.Array):
    """M_{k,l} and M*_k (r, m, d); of the other workers' components those `visible` are shown."""
    rank = problem.first.b.shape[0]
    exact = _products(problem.left.T[:rank], problem.right.T[:rank], problem.values[:rank])
    shown = jnp.where(visible[:, None, None], _products(*others), 0)
    target = problem.regression.target
    return target - _before_each(shown), target - _before_each(exact)


def _gram(target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared singular values and right vectors, the largest last."""
    # A symmetric eigenproblem is half the price of a singular value decomposition. Its accuracy is
    # that of rounding over the gap for the top pair, which is all that is used.
    # It is the only batched factorisation of a round: two independent ones may block each other,
    # see `batching.per_instance`.
    return jnp.linalg.eigh(jnp.swapaxes(target, 1, 2) @ target)


def _reached(old: Components, new: Components, target, squares, vectors) -> Reach:
    """What one round did, by the eigenpairs of M_{k,l}^T M_{k,l}."""
    path = _products(*old)
    top = vectors[:, :, -1]
    best = _products(jnp.einsum("kmd,kd->km", target, top), top)
    length = jnp.linalg.norm(old.a, axis=1)
    overlap = jnp.abs(jnp.sum(old.a * top, axis=1))
    return Reach(
        before=norm(path - best),
        after=norm(_products(*new) - best),
        ratio=jnp.sqrt(jnp.maximum(squares[:, -2], 0) / squares[:, -1]),
        cosine=overlap / jnp.where(length > 0, length, 1),
    )


def _products(b: jax.Array, a: jax.Array, sizes: jax.Array | float = 1.0) -> jax.Array:
    return jnp.einsum("km,kd->kmd", b * jnp.reshape(sizes, (-1, 1)), a)


def _before_each(terms: jax.Array) -> jax.Array:
    """Sums over all predecessors."""
    return jnp.cumsum(terms, axis=0) - terms
