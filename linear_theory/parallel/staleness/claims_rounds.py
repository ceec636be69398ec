"""Claims: how many rounds stale predecessors cost, near the end and from a cold start.

Legend: as in `staleness` and `measured_run`.
"""

from __future__ import annotations

import numpy as np

import deflation
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import run
from linear_theory.parallel.problems import RANK, VALUES, draw
from linear_theory.parallel.self_correction.claims_exact import EXACT, EXACT_SWEEPS
from linear_theory.parallel.staleness import theory as staleness
from linear_theory.parallel.staleness.claims_rates import TAUS, first_order, points, rate_spectrum

# Of the change at the start, so small that what the first round adds to it in second order is
# small beside it; and relative to what a component may be off when rounds are counted.
START, ACCURACY = 1e-5, 1e-8
# What the first-order law leaves out is estimated below the first part of the accuracy, and allowed
# the second.
SECOND_ORDER, ALLOWANCE = 1e-3, 1e-2


def _draw(key, trials):
    return draw(key, trials, rate_spectrum, near=True, size=START)


def _extra_rounds(problem, allowed=lambda tau: tau) -> Evidence:
    """Rounds more than without staleness until G_k has the accuracy, give or take second order."""
    plain, first_order = _rounds_to(problem, 0, ACCURACY)
    parts = []
    for tau in TAUS[1:]:
        stale, also = _rounds_to(problem, tau, (1 + ALLOWANCE) * ACCURACY)
        premise = first_order & also & (plain > 1)
        parts.append(Evidence(stale - plain, np.full(stale.shape, float(allowed(tau))), premise))
    return points(parts)


def _rounds_to(problem, tau: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    """First round after which G_k <= accuracy, and whether the first-order law holds in it."""
    current = run(problem, staleness=tau)
    there = current.relative[:, 1:] <= accuracy
    index = there.argmax(axis=1)
    law = first_order(current, tau, SECOND_ORDER)
    return index + 1, there.any(axis=1) & np.take_along_axis(law, index[:, None], 1)[:, 0]


def _well_separated(uniform: np.ndarray) -> np.ndarray:
    """Random ratios in (0.3, 0.6): EXACT_SWEEPS sweeps leave nothing."""
    ratios = 0.3 + 0.3 * uniform[:, 2 : 1 + VALUES]
    return np.cumprod(np.concatenate([np.ones((len(ratios), 1)), ratios], axis=1), axis=1)


def _draw_cold(key, trials):
    return draw(key, trials, _well_separated)


def _exact_solver(problem, early: int = 0) -> Evidence:
    """Published at once and from the first round on, so that it is the delay that is seen."""
    parts = []
    for tau in (1, 2):
        solver = deflation.alternating(EXACT_SWEEPS)
        rounds = 1 + RANK * (tau + 1)
        current = run(problem, solver, rounds=rounds, staggered=False, staleness=tau)
        exact = np.asarray(staleness.exact_from(RANK, tau))
        late = np.arange(rounds + 1)[:, None] >= np.maximum(exact - early, 1)
        premise = np.broadcast_to(late, current.relative.shape)
        parts.append(Evidence(current.relative, np.asarray(EXACT), premise))
    return points(parts)


_NEW = "proved in staleness.{}; no published counterpart"

CLAIMS = (
    Claim(
        name="staleness.extra_rounds",
        source=_NEW.format("stale_first_order_errors"),
        statement="Alternating steps near the end: rounds more than without staleness until G_k "
        "is 1e-8, once for all workers and not once per predecessor.",
        formula="l_tau(k) - l_0(k) <= tau",
        kind="upper",
        status="new",
        instances=_draw,
        measure=_extra_rounds,
        control=Control("one round less", lambda p: _extra_rounds(p, lambda tau: tau - 1)),
    ),
    Claim(
        name="staleness.exact_solver",
        source=_NEW.format("exact_from"),
        statement="From a cold start with an exact solver: worker k is exact from the round on in "
        "which it sees its last predecessor, tau + 1 rounds later for each.",
        formula="R_{k,l} = R*_k for l >= 1 + (k - 1)(tau + 1)",
        kind="identity",
        status="new",
        instances=_draw_cold,
        measure=_exact_solver,
        control=Control("one round earlier", lambda p: _exact_solver(p, 1)),
    ),
)
