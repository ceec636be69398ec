"""Claims: predecessors that are stale by another number of rounds for everybody, at most tau.

Legend: as in `staleness`; in round l worker k subtracts what worker j had after round l - 1 - t,
0 <= t <= tau drawn anew for every k, j and l, so that news may overtake each other. Runs are in
numpy, as the solvers of `deflation` have one delay for all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import falling, generator, norm, orthogonal, unit_rows
from linear_theory.parallel.staleness import theory as staleness

ROWS, COLUMNS, RANK, STALENESS = 7, 6, 4, 3
LATE_ROUNDS = 16
SIZE = 1e-6  # of the change at the start
SECOND_ORDER, FLOOR = 1e-2, 1e-12
EPS = np.finfo(float).eps

# (targets M_k (n, 4, 7, 6), b (n, 4, 7, 1), a (n, 4, 6, 1)) -> (b, a) after a round
Solver = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Delayed(NamedTuple):
    """left (n, 7, 6), values (n, 6), right (n, 6, 6) of M in columns; first a (n, 4, 6).

    delays: of round l, worker k, predecessor j, (n, L, 4, 4).
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    first: np.ndarray
    delays: np.ndarray


def draw_delayed(
    key, trials: int, near: bool = True, ratios=(0.4, 0.8), rounds: int = 1 + RANK * (STALENESS + 1)
) -> Delayed:
    """Ratios of values from .4 to .8; first directions near the exact ones, or any.

    Example:
      >>> import jax
      >>> int(draw_delayed(jax.random.key(0), 2).delays.max()) <= STALENESS
      True
    """
    rng = generator(key)
    values = falling(rng.uniform(*ratios, (trials, COLUMNS - 1)))
    left, right = orthogonal(rng, trials, ROWS, COLUMNS), orthogonal(rng, trials, COLUMNS, COLUMNS)
    change = rng.standard_normal((trials, RANK, COLUMNS))
    first = right.mT[:, :RANK] + SIZE * change if near else change
    delays = rng.integers(STALENESS + 1, size=(trials, rounds, RANK, RANK))
    return Delayed(left, values, right, first, delays)


def _sweep(target: np.ndarray, b: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a <- M^T M a, b <- M a/|a|^2."""
    a = target.mT @ (target @ a)
    a = a / np.linalg.norm(a, axis=2, keepdims=True)
    return target @ a, a


def _exact(target: np.ndarray, b: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, values, right = np.linalg.svd(target)
    return left[..., :1] * values[..., None, :1], right.mT[..., :1]


def target_of(problem: Delayed) -> np.ndarray:
    """M (n, 7, 6)."""
    return problem.left * problem.values[:, None] @ problem.right.mT


def follow(problem: Delayed, solver: Solver, rounds: int):
    """Targets, b and a of every round, and what they lead to, from b = M a, |a| = 1.

    Yields:
      M_k (n, 4, 7, 6), b (n, 4, 7, 1), a (n, 4, 6, 1); the first time without targets.
    """
    matrix = target_of(problem)[:, None]
    a = unit_rows(problem.first)[..., None]
    b = matrix @ a
    yield None, b, a
    recent = [b @ a.mT]  # no older than tau + 1 rounds: before the start it is as at the start
    earlier = np.tril(np.ones((RANK, RANK)), -1)[:, :, None, None]
    instance, worker = np.arange(len(matrix))[:, None, None], np.arange(RANK)
    for step in range(rounds):
        seen_at = np.maximum(len(recent) - 1 - problem.delays[:, step], 0)
        past = np.stack(recent, axis=1)[instance, seen_at, worker]
        target = matrix - np.sum(earlier * past, axis=2)
        b, a = solver(target, b, a)
        yield target, b, a
        recent = [*recent, b @ a.mT][-1 - STALENESS :]


def exact_of(problem: Delayed) -> np.ndarray:
    """R*_k (n, 4, 7, 6)."""
    own = problem.left.mT[:, :RANK, :, None] * problem.values[:, :RANK, None, None]
    return own * problem.right.mT[:, :RANK, None]


def _run(problem: Delayed, solver: Solver, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors E (n, L + 1, 4) and directions a (n, L + 1, 4, 6)."""
    exact = exact_of(problem)
    ends = [(norm(b @ a.mT - exact), a[..., 0]) for _, b, a in follow(problem, solver, rounds)]
    errors, directions = zip(*ends, strict=True)
    return np.stack(errors, axis=1), np.stack(directions, axis=1)


def _late(problem: Delayed, delay: int = STALENESS) -> Evidence:
    """Errors against those that the longest delay would leave in every round, to first order."""
    errors, directions = _run(problem, _sweep, LATE_ROUNDS)
    modes = directions @ problem.right[:, None]
    modes = modes * np.sign(np.diagonal(modes, axis1=2, axis2=3))[..., None]
    bound = np.asarray(staleness.stale_first_order_errors(modes, problem.values, delay))
    # From then on the predecessors that are seen have done a round.
    late = (np.arange(1, LATE_ROUNDS + 1) > 1 + STALENESS)[:, None]
    # What the law leaves out are squares of what any worker had been off by, over the least gap.
    gap = np.min(-np.diff(problem.values[:, : RANK + 1], axis=1), axis=1)
    largest = errors[:, 0].max(axis=1) ** 2 / gap
    clear = errors[:, 1:] > np.maximum(FLOOR, largest[:, None, None] / SECOND_ORDER)
    return Evidence(errors[:, 1:], (1 + SECOND_ORDER) * bound, late & clear)


def _cold(problem: Delayed, early: int = 0) -> Evidence:
    """Errors with an exact solver, from the rounds on that one delay for all would take."""
    rounds = problem.delays.shape[1]
    errors, _ = _run(problem, _exact, rounds)
    exact = np.asarray(staleness.exact_from(RANK, STALENESS))
    late = np.arange(rounds + 1)[:, None] >= np.maximum(exact - early, 1)
    return Evidence(errors / problem.values[:, None, :RANK], 1e3 * EPS, late[None])


CLAIMS = (
    Claim(
        name="staleness.varying_exact",
        source="proved in staleness.exact_from; arXiv 2605.10741 leaves bounded staleness open",
        statement="Delays that vary, at most tau, an exact solver and a cold start: worker k is "
        "exact from the same round on as with tau rounds for all.",
        formula="R_{k,l} = R*_k for l >= 1 + (k - 1)(tau + 1)",
        kind="identity",
        status="new",
        instances=functools.partial(draw_delayed, near=False),
        measure=_cold,
        control=Control("tau + 1 rounds earlier", functools.partial(_cold, early=STALENESS + 1)),
    ),
    Claim(
        name="staleness.varying_late",
        source="proved in staleness.stale_first_order_errors; arXiv 2605.10741 leaves bounded "
        "staleness open",
        statement="Delays that vary, at most tau, alternating steps near the end: errors are at "
        "most those of tau rounds for all, to first order.",
        formula="E_{k,l}^2 <= sum_{i>k} eps_{k,i,l}^2 (s_k^2 + s_i^2) + sum_{j<k} "
        "eps_{j,k,l-1-tau}^2 (s_j^2 + s_k^2)",
        kind="upper",
        status="new",
        instances=draw_delayed,
        measure=_late,
        control=Control("fresh predecessors", functools.partial(_late, delay=0)),
    ),
)
