"""Claims: stale predecessors where workers descend a gradient, from cold starts.

Legend: as in `staleness` and `claims_varying`; in a round a worker takes 12 simultaneous steps of
gradient descent of size 1/2 on 1/2 ||M_k - b a^T||^2 from its own last b and a.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm
from linear_theory.parallel.staleness.claims_varying import (
    RANK,
    STALENESS,
    Delayed,
    draw_delayed,
    exact_of,
    follow,
)

STEP_SIZE, STEPS, ROUNDS, LONG = 0.5, 12, 24, 48
GROUPS, RUNS, NEAR = 24, 9, 1e-3
RATIOS = (0.4, 0.7)


def _descend(target: np.ndarray, b: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for _ in range(STEPS):
        of_b, of_a = target @ a - b * (a.mT @ a), target.mT @ b - a * (b.mT @ b)
        b, a = b + STEP_SIZE * of_b, a + STEP_SIZE * of_a
    return b, a


def draw_cold(key, trials: int) -> Delayed:
    """Any first directions; at most 64 instances.

    Example:
      >>> import jax
      >>> len(draw_cold(jax.random.key(0), 100).values)
      64
    """
    return draw_delayed(key, min(trials, 64), False, RATIOS, ROUNDS)


def _round(problem: Delayed, delay: int = STALENESS) -> Evidence:
    """One round of descent behind predecessors of which any of the last tau + 1 rounds is seen."""
    exact, values = exact_of(problem), problem.values
    errors, contraction = [], []
    last = None
    for target, b, a in follow(problem, _descend, ROUNDS):
        now = b @ a.mT
        errors.append(norm(now - exact))
        if target is not None:
            left, s, right = np.linalg.svd(target)
            best = left[..., :1] * s[..., None, :1] @ right[..., :1, :]
            contraction.append(norm(now - best) / norm(last - best))
        last = now
    errors, contraction = np.stack(errors, axis=1), np.stack(contraction, axis=1)
    seen = [errors[:, np.maximum(np.arange(ROUNDS) - t, 0)] for t in range(delay + 1)]
    mismatch = np.cumsum(np.max(seen, axis=0), axis=2) - np.max(seen, axis=0)
    constant = 1 + 6 * values[:, :RANK] / -np.diff(values[:, : RANK + 1], axis=1)
    bound = contraction * errors[:, :-1] + (1 + contraction) * constant[:, None] * mismatch
    return Evidence(errors[:, 1:], bound + 1e-12)


def draw_settling(key, trials: int) -> Delayed:
    """Nine runs of an instance, one after the other; at most 24 instances."""
    return draw_delayed(key, RUNS * min(trials, GROUPS), False, RATIOS, LONG)


def _settled(problem: Delayed, delays: np.ndarray) -> np.ndarray:
    """The round from which on errors are below NEAR s_k, one after the last if none is (n, 4)."""
    exact, runs = exact_of(problem), problem._replace(delays=delays)
    errors = [norm(b @ a.mT - exact) for _, b, a in follow(runs, _descend, LONG)]
    far = np.stack(errors, axis=1) > NEAR * problem.values[:, None, :RANK]
    return np.where(far.any(axis=1), 1 + LONG - np.argmax(far[:, ::-1], axis=1), 0)


def _cold(problem: Delayed, extra: float = 2.0) -> Evidence:
    """Rounds with delays beyond those without, against `extra` tau per predecessor."""
    fresh, stale = (_settled(problem, share * problem.delays) for share in (0, 1))
    later = np.median((stale - fresh).reshape(-1, RUNS, RANK), axis=1)
    return Evidence(later, extra * STALENESS * np.arange(RANK)[None])


CLAIMS = (
    Claim(
        name="staleness.descent_round",
        source="arXiv 2505.22602, lemma 3, and delayed_envelope; arXiv 2605.10741 leaves bounded "
        "staleness open",
        statement="Descent, delays that vary, at most tau, and a cold start: in every round, "
        "whatever the mismatch is, with the worst that may be seen of each predecessor.",
        formula="E_{k,l} <= F E_{k,l-1} + (1 + F) (1 + 6 s_k/T_k) sum_{j<k} max_{t <= tau} "
        "E_{j,l-1-t}, F the contraction of that round",
        kind="upper",
        status="new",
        instances=draw_cold,
        measure=_round,
        control=Control("fresh predecessors", functools.partial(_round, delay=0)),
    ),
    Claim(
        name="staleness.descent_cold",
        source="observed; arXiv 2605.10741 leaves bounded staleness open",
        statement="Descent from cold starts, delays that vary, at most tau = 3: in the median over "
        "spectra and starts worker k settles at most 2 tau rounds later per predecessor; about tau "
        "in fact. Single runs may lose or gain more, as a worker that waits at a saddle is pushed "
        "off it by what it sees.",
        formula="median (l_k with delays - l_k without) <= 2 tau (k - 1), E_{k,l} <= 1e-3 s_k from "
        "l_k on; nine runs of an instance",
        kind="upper",
        status="new",
        instances=draw_settling,
        measure=_cold,
        control=Control("not later at all", functools.partial(_cold, extra=0.0)),
    ),
)
