"""Claims: the same law, the same rates and a proved envelope with stale predecessors.

Legend: as in `staleness` and `measured_run`. Runs start at the exact components, changed a little,
all published. Every staleness of `TAUS` is a point of every instance.
"""

from __future__ import annotations

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import (
    FLOOR,
    ROUNDING,
    Run,
    aligned,
    and_predecessors,
    last_factor,
    own_pair,
    run,
)
from linear_theory.parallel.problems import (
    RANK,
    VALUES,
    draw,
    separated_spectrum,
    slow_first_spectrum,
)
from linear_theory.parallel.self_correction import contraction, late_phase
from linear_theory.parallel.self_correction import theory as self_correction
from linear_theory.parallel.self_correction.claims_late_phase import (
    DIGITS_FLOOR,
    LAW_TOLERANCE,
    RATE_TOLERANCE,
    SECOND_ORDER,
    SIZE,
)
from linear_theory.parallel.staleness import theory as staleness

TAUS = (0, 1, 2, 4)
RATE_SECOND_ORDER = 1e-4  # of an error, where rates are told to 1e-3
GATE = 0.5  # as TAU of recursion_claims: how far the gates are open


def rate_spectrum(uniform: np.ndarray) -> np.ndarray:
    """Half of the instances with a first worker that is slower than all others."""
    even = (np.arange(len(uniform)) % 2 == 0)[:, None]
    return np.where(even, slow_first_spectrum(uniform), separated_spectrum(uniform))


def draw_near(key, trials):
    """Near the end."""
    return draw(key, trials, rate_spectrum, near=True, size=SIZE)


def _fast_behind_slow(uniform: np.ndarray) -> np.ndarray:
    """s_2/s_1 in (0.7, 0.8), all other ratios in (0.02, 0.1): workers k >= 2 only follow."""
    ratios = 0.02 + 0.08 * uniform[:, 2 : 1 + VALUES]
    ratios[:, 0] = 0.7 + 0.1 * uniform[:, 0]
    return np.cumprod(np.concatenate([np.ones((len(ratios), 1)), ratios], axis=1), axis=1)


def _draw_fast_behind_slow(key, trials):
    """Only the first worker is off at the start, so that what the others do is its doing."""
    return draw(key, trials, _fast_behind_slow, near=True, size=SIZE * (np.arange(RANK) == 0))


def _draw_small(key, trials):
    """Small changes keep every gate open from the first round on."""
    return draw(key, trials, rate_spectrum, near=True, size=0.1 * SIZE)


def points(parts: list[Evidence]) -> Evidence:
    """Evidence of several runs of one batch as more points of its instances."""

    def joined(sides):
        sides = [np.broadcast_to(s, e.measured.shape) for s, e in zip(sides, parts, strict=True)]
        return np.concatenate([s.reshape(len(s), -1) for s in sides], axis=1)

    premise, tolerance = [e.premise for e in parts], parts[0].tolerance
    sides = joined([e.measured for e in parts]), joined([e.bound for e in parts])
    return Evidence(*sides, joined(premise), tolerance)


def first_order(current: Run, tau: int, share: float) -> np.ndarray:
    """Where what the first-order law leaves out of an error, (sum of the errors seen)^2 / gap, is
    estimated below a share of it; rounds 1, ..., L (trials, L, r)."""
    errors = current.trajectory.error
    visible = np.maximum(np.arange(errors.shape[1] - 1) - tau, 0)
    gaps = current.values[:, :RANK] - current.values[:, 1 : RANK + 1]
    return np.cumsum(errors, axis=2)[:, visible] ** 2 / gaps[:, None] < share * errors[:, 1:]


def _law(problem, delay: int | None = None) -> Evidence:
    """`delay`: what the law assumes in place of the staleness."""
    parts = []
    for tau in TAUS if delay is None else TAUS[1:]:
        current = run(problem, staleness=tau)
        assumed = tau if delay is None else delay
        modes = current.trajectory.modes
        predicted = staleness.stale_first_order_errors(modes, current.values, assumed)
        after = current.trajectory.error[:, 1:]
        # The first round whose slaved modes come from a round is tau + 2.
        late = np.arange(1, after.shape[1] + 1)[:, None] >= tau + 2
        premise = late & (after > DIGITS_FLOOR) & first_order(current, tau, SECOND_ORDER)
        error = np.abs(after / np.asarray(predicted) - 1)
        parts.append(Evidence(error, np.asarray(LAW_TOLERANCE), premise))
    return points(parts)


def _late_rate(problem, per_round: bool = True) -> Evidence:
    parts = []
    for tau in TAUS:
        current = run(problem, staleness=tau)
        values = current.values
        pairs = values[:, :RANK, None], values[:, None]
        rates = (np.minimum(*pairs) / np.maximum(*pairs)) ** 2
        alone = contraction.alternating_rate(values)[:, :RANK]
        predicted = np.asarray(late_phase.late_rate(alone)) ** (1 if per_round else 1 / (tau + 1))
        measured, is_rate = last_factor(current, np.where(own_pair(), 0, rates))
        last = np.maximum((current.trajectory.error > FLOOR).sum(axis=1) - 1, 1)[:, None]
        law = first_order(current, tau, RATE_SECOND_ORDER)
        holds = np.take_along_axis(law, np.maximum(last - 2, 0), 1)[:, 0]
        parts.append(Evidence(measured, predicted, is_rate & holds, RATE_TOLERANCE))
    return points(parts)


def _recursion(current: Run):
    """Couplings, contractions and where the recursion holds for worker k and all before it."""
    radius = np.asarray(self_correction.gate_radius(current.values, GATE))[:, :RANK]
    before, after = current.reach.before, current.reach.after
    rate = np.where(before > FLOOR, current.contraction, 0).max(axis=1)
    constant = self_correction.transfer_constant(current.values, current.mismatch.max(axis=1))
    couplings = np.asarray(self_correction.coupling(current.values, rate, constant))
    holds = (current.mismatch <= radius[:, None]) & aligned(current)
    holds &= after <= rate[:, None] * before + ROUNDING
    holds = np.logical_and.accumulate(holds, axis=1) & (rate < 1)[:, None]
    visible = current.trajectory.error[:, 1:] > FLOOR
    return couplings, rate, and_predecessors(holds) & visible & (np.arange(RANK) > 0)


def _envelope(problem, delayed: bool = True) -> Evidence:
    parts = []
    for tau in TAUS if delayed else TAUS[1:]:
        current = run(problem, staleness=tau)
        couplings, rate, holds = _recursion(current)
        start, rounds = current.relative[:, 0], current.contraction.shape[1]
        assumed = tau if delayed else 0
        path = staleness.delayed_envelope(couplings, rate, start, rounds, assumed)
        bound = np.moveaxis(np.asarray(path), 0, 1)[:, 1:]
        parts.append(Evidence(current.relative[:, 1:], bound, holds))
    return points(parts)


def _geometric(problem, per_stage: bool = True) -> Evidence:
    """At the rate (1 + 3 max F)/4, or max F where workers k >= 2 leave room for it."""
    parts = []
    for tau in TAUS if per_stage else TAUS[1:]:
        current = run(problem, staleness=tau)
        couplings, rate, holds = _recursion(current)
        largest, later = rate.max(axis=1), rate[:, 1:].max(axis=1)
        m = np.where(later < 0.5 * largest, largest, (1 + 3 * largest) / 4)
        assumed = tau if per_stage else 0
        constants = staleness.geometric_constants(
            couplings, rate, current.relative[:, 0], m, assumed
        )
        power = m[:, None] ** np.arange(1, current.relative.shape[1])
        bound = np.asarray(constants)[:, None] * power[..., None]
        parts.append(Evidence(current.relative[:, 1:], bound, holds))
    return points(parts)


_NEW = "proved in staleness.{}; no published counterpart"

CLAIMS = (
    Claim(
        name="staleness.first_order_errors",
        source=_NEW.format("stale_first_order_errors"),
        statement="Alternating steps near the end, predecessors tau rounds old: the error of a "
        "worker from its own modes and those that its predecessors left 1 + tau rounds ago.",
        formula="E_{k,l}^2 = sum_{i>k} eps_{k,i,l}^2 (s_k^2 + s_i^2) + sum_{j<k} "
        "eps_{j,k,l-1-tau}^2 (s_j^2 + s_k^2)",
        kind="identity",
        status="new",
        instances=draw_near,
        measure=_law,
        control=Control("modes of one round ago, the delay omitted", lambda p: _law(p, 0)),
    ),
    Claim(
        name="staleness.late_rate",
        source=_NEW.format("stale_first_order_errors"),
        statement="Alternating steps, tau = 0, 1, 2, 4: the factor by which E_{k,l} falls per "
        "round in the end is free of tau.",
        formula="E_{k,l}/E_{k,l-1} -> max(F_{k-1}, F_k), F_k = (s_{k+1}/s_k)^2",
        kind="fit",
        status="new",
        instances=draw_near,
        measure=_late_rate,
        control=Control(
            "progress only every tau + 1 rounds, max(F_{k-1}, F_k)^{1/(tau + 1)}",
            lambda p: _late_rate(p, per_round=False),
        ),
    ),
    Claim(
        name="staleness.envelope",
        source=_NEW.format("delayed_envelope"),
        statement="While delta_{j,l} <= T_j/(2 sqrt(2)) and F_j < 1 hold for all j <= k: errors "
        "are below those of a linear recursion with delay tau.",
        formula="G_{k,l} <= g_{k,l} = F_k g_{k,l-1} + sum_{j<k} kappa_kj g_{j,l-1-tau}, "
        "kappa_kj = (1 + F_k) c_k s_j/s_k",
        kind="upper",
        status="new",
        instances=_draw_small,
        measure=_envelope,
        control=Control(
            "the recursion without delay, where fast workers follow a slow one",
            lambda p: _envelope(p, delayed=False),
            _draw_fast_behind_slow,
        ),
    ),
    Claim(
        name="staleness.geometric",
        source=_NEW.format("geometric_constants"),
        statement="The same in closed form: any rate above the contractions, at the price of a "
        "factor m^{-tau} per stage.",
        formula="G_{k,l} <= C_k m^l, C_k = max{G_{k,0}, m^{-tau} sum_{j<k} kappa_kj C_j/(m - F_k)}",
        kind="upper",
        status="new",
        instances=_draw_small,
        measure=_geometric,
        control=Control(
            "without the factor m^{-tau}, where fast workers follow a slow one",
            lambda p: _geometric(p, per_stage=False),
            _draw_fast_behind_slow,
        ),
    ),
)
