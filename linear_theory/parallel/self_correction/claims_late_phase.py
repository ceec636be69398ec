"""Claims: the first-order law of parallel deflation, and the rates at which errors fall in the end.

Legend: as in `late_phase` and `measured_run`. Runs start at the exact components, changed a little,
all published: this is where every run with open gates arrives.
"""

from __future__ import annotations

import numpy as np

from deflation.solvers.gradient_descent import GradientDescent
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import FLOOR, Run, last_factor, own_pair, run
from linear_theory.parallel.problems import (
    RANK,
    VALUES,
    draw,
    separated_spectrum,
    slow_first_spectrum,
)
from linear_theory.parallel.self_correction import contraction, late_phase, warm_up
from linear_theory.parallel.self_correction.claims_contraction import DESCENT_ROUNDS, DESCENT_STEPS

SIZE = 1e-3  # of the change at the start
# Rounding, amplified by gaps, is well below 1e-4 of errors above it.
DIGITS_FLOOR = 3e-10
# The law is tested where what it leaves out is estimated below the first, to the second.
SECOND_ORDER, LAW_TOLERANCE = 1e-5, 1e-4
RATE_TOLERANCE, DESCENT_TOLERANCE = 1e-3, 1e-2
# A mode is looked at while it is DOMINANT times the products of modes that the law leaves out, of
# which a few add up.
DOMINANT = 1e5
MODE_TOLERANCE = 10 / DOMINANT


def _draw(key, trials):
    return draw(key, trials, near=True, size=SIZE)


def _draw_slow_first(key, trials):
    return draw(key, trials, slow_first_spectrum, near=True, size=SIZE)


def _draw_rates(key, trials):
    """Half of the instances with a first worker that is slower than all others."""
    return draw(key, trials, _rate_spectrum, near=True, size=SIZE)


def _draw_descent(key, trials):
    """X X^T = I: gradient descent in original coordinates sees the spectrum of M alone."""
    return draw(key, trials, _rate_spectrum, near=True, size=SIZE, conditioning=1)


def _rate_spectrum(uniform: np.ndarray) -> np.ndarray:
    even = (np.arange(len(uniform)) % 2 == 0)[:, None]
    return np.where(even, slow_first_spectrum(uniform), separated_spectrum(uniform))


def _law(problem, slaved: float = 1.0) -> Evidence:
    current = run(problem)
    modes, values = current.trajectory.modes, current.values[:, None]
    predicted = late_phase.first_order_errors(modes[:, 1:], slaved * modes[:, :-1], values)
    errors = current.trajectory.error
    return _first_order(errors[:, 1:], predicted, np.cumsum(errors, axis=2)[:, :-1], _gaps(current))


def _sum_law(problem, cancelling: bool = True) -> Evidence:
    current = run(problem)
    modes, values = current.trajectory.modes, current.values[:, None]
    if cancelling:
        predicted = late_phase.first_order_sum_error(modes[:, 1:], modes[:, :-1], values)
    else:
        errors = late_phase.first_order_errors(modes[:, 1:], modes[:, :-1], values)
        predicted = np.linalg.norm(errors, axis=-1)
    b, a = current.trajectory.factors
    exact = np.asarray(problem.left[:, :, :RANK] * problem.values[:, None, :RANK])
    exact = exact @ np.swapaxes(problem.right[:, :, :RANK], 1, 2)
    left = np.linalg.norm(np.swapaxes(b[:, 1:], 2, 3) @ a[:, 1:] - exact[:, None], axis=(2, 3))
    single = current.trajectory.error[:, :-1].sum(axis=2)
    return _first_order(left, predicted, single, _gaps(current).min(axis=2))


def _gaps(current: Run) -> np.ndarray:
    return (current.values[:, :RANK] - current.values[:, 1 : RANK + 1])[:, None]


def _first_order(errors, predicted, before, gaps) -> Evidence:
    """Relative error of a first-order prediction, where (sum of errors)^2 / gap is small beside it.

    The second round is the first whose slaved modes come from a round.
    """
    late = (np.arange(1, errors.shape[1] + 1) >= 2).reshape((-1,) + (1,) * (errors.ndim - 2))
    premise = late & (errors > DIGITS_FLOOR) & (before**2 / gaps < SECOND_ORDER * errors)
    return Evidence(np.abs(errors / np.asarray(predicted) - 1), LAW_TOLERANCE, premise)


def _dominant(modes: np.ndarray, before: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where a mode is so large that products of two modes are small beside it.

    Products of modes of the first worker weigh s_1/s_k in the target of worker k.
    """
    largest = np.abs(np.where(own_pair(), 0, before)).max(axis=(2, 3), keepdims=True)
    products = largest**2 * (values[:, :1] / values[:, :RANK])[:, None, :, None]
    return (np.abs(modes) > DOMINANT * products) & (np.abs(modes) > DIGITS_FLOOR)


def _own_modes(problem, power: int = 2) -> Evidence:
    current = run(problem)
    modes, values = current.trajectory.modes, current.values
    now, before = modes[:, 1:], modes[:, :-1]
    later = np.triu(np.ones((RANK, VALUES), bool), 1)
    measured = np.divide(now, before, out=np.zeros_like(now), where=before != 0)
    ratio = values[:, None, :] / values[:, :RANK, None]
    bound = np.where(later, ratio**power, 0)[:, None]
    return Evidence(measured, bound, later & _dominant(now, before, values), MODE_TOLERANCE)


def _slaved_modes(problem, delay: int = 1) -> Evidence:
    current = run(problem)
    every = current.trajectory.modes
    now, before = every[:, 1:, :, :RANK], every[:, :-1, :, :RANK]
    leading = np.swapaxes(before if delay else now, 2, 3)
    earlier = np.tril(np.ones((RANK, RANK), bool), -1)
    later_round = (np.arange(1, now.shape[1] + 1) >= 2)[:, None, None]
    premise = earlier & later_round & _dominant(leading, every[:, :-1], current.values)
    measured = np.abs(now + leading) / np.maximum(np.abs(leading), FLOOR)
    return Evidence(measured, MODE_TOLERANCE, premise)


def _late_rate(problem, rate=late_phase.late_rate) -> Evidence:
    current = run(problem)
    values = current.values
    pairs = values[:, :RANK, None], values[:, None]
    rates = (np.minimum(*pairs) / np.maximum(*pairs)) ** 2
    alone = np.asarray(contraction.alternating_rate(values))[:, :RANK]
    return _rate_evidence(current, rates, rate(alone))


def _late_rate_descent(problem, rate=late_phase.late_rate) -> Evidence:
    step = np.full((len(problem.x), RANK, 1), 0.5)
    solver = GradientDescent(step, DESCENT_STEPS, coordinates="original")
    current = run(problem, solver, rounds=DESCENT_ROUNDS)
    values = current.values
    rates = (1 - step * np.abs(values[:, :RANK, None] - values[:, None])) ** DESCENT_STEPS
    gaps = values[:, :RANK] - values[:, 1 : RANK + 1]
    evidence = _rate_evidence(current, rates, rate((1 - step[..., 0] * gaps) ** DESCENT_STEPS))
    # The modes of a alone say which rate is left; those of b follow them, up to a transient.
    return evidence._replace(tolerance=DESCENT_TOLERANCE)


def _rate_evidence(current: Run, rates: np.ndarray, predicted) -> Evidence:
    """rates: of all pairs (k, i) that contribute to the error of worker k, (trials, r, K)."""
    measured, is_rate = last_factor(current, np.where(own_pair(), 0, rates))
    return Evidence(measured, predicted, is_rate, RATE_TOLERANCE)


_NEW = "proved in late_phase.first_order_errors; no published counterpart"

CLAIMS = (
    Claim(
        name="self_correction.first_order_errors",
        source=_NEW,
        statement="Alternating steps near the end: the error of a worker from its own modes and "
        "those that its predecessors left one round ago.",
        formula="E_{k,l}^2 = sum_{i>k} eps_{k,i,l}^2 (s_k^2 + s_i^2) + sum_{j<k} eps_{j,k,l-1}^2 "
        "(s_j^2 + s_k^2)",
        kind="identity",
        status="new",
        instances=_draw,
        measure=_law,
        control=Control("without the slaved modes j < k", lambda problem: _law(problem, 0.0)),
    ),
    Claim(
        name="self_correction.first_order_sum",
        source=_NEW,
        statement="Alternating steps near the end: errors inside the first r modes cancel in the "
        "sum of the components, up to one round's progress.",
        formula="||sum_k (R_{k,l} - R*_k)||^2 = sum_{k<=r<i} eps_{k,i,l}^2 (s_k^2 + s_i^2) + "
        "sum_{j<k<=r} (eps_{j,k,l} - eps_{j,k,l-1})^2 (s_j^2 + s_k^2)",
        kind="identity",
        status="new",
        instances=_draw,
        measure=_sum_law,
        control=Control(
            "no cancellation: the root of sum_k E_{k,l}^2", lambda problem: _sum_law(problem, False)
        ),
    ),
    Claim(
        name="self_correction.own_modes",
        source=_NEW,
        statement="Alternating steps near the end: a mode i > k of worker k falls as if it were "
        "alone, whatever its predecessors do.",
        formula="eps_{k,i,l} = (s_i/s_k)^2 eps_{k,i,l-1}, i > k",
        kind="fit",
        status="new",
        instances=_draw,
        measure=_own_modes,
        control=Control(
            "the rate of half a sweep, s_i/s_k", lambda problem: _own_modes(problem, 1)
        ),
    ),
    Claim(
        name="self_correction.slaved_modes",
        source=_NEW,
        statement="Alternating steps near the end: a mode j < k of worker k is minus the mode k of "
        "worker j one round ago.",
        formula="eps_{k,j,l} = -eps_{j,k,l-1}, j < k",
        kind="identity",
        status="new",
        instances=_draw,
        measure=_slaved_modes,
        control=Control("in the same round", lambda problem: _slaved_modes(problem, 0)),
    ),
    Claim(
        name="self_correction.late_rate",
        source="proved in late_phase.late_rate; arXiv 2502.17615, theorem 2 has m_k",
        statement="Alternating steps: the factor by which E_{k,l} falls per round in the end.",
        formula="E_{k,l}/E_{k,l-1} -> max(F_{k-1}, F_k), F_k = (s_{k+1}/s_k)^2",
        kind="fit",
        status="corrected",
        instances=_draw_rates,
        measure=_late_rate,
        control=Control(
            "the published rate m_k = max(F_k, 1/k + (k-1)/k m_{k-1})",
            lambda problem: _late_rate(problem, warm_up.proved_rates),
        ),
    ),
    Claim(
        name="self_correction.late_rate_behind_slow",
        source="proved in late_phase.late_rate",
        statement="The same behind a slow first worker, which workers 3, ..., r do not feel.",
        formula="E_{k,l}/E_{k,l-1} -> max(F_{k-1}, F_k)",
        kind="fit",
        status="new",
        instances=_draw_slow_first,
        measure=_late_rate,
        control=Control(
            "the slowest so far, max_{j<=k} F_j",
            lambda problem: _late_rate(problem, lambda alone: np.maximum.accumulate(alone, axis=1)),
        ),
    ),
    Claim(
        name="self_correction.late_rate_descent",
        source="proved in late_phase.late_rate",
        statement="Gradient descent in whitened coordinates with one step size eta = 1/(2 s_1).",
        formula="E_{k,l}/E_{k,l-1} -> max(F_{k-1}, F_k), F_k = (1 - eta T_k)^T",
        kind="fit",
        status="new",
        instances=_draw_descent,
        measure=_late_rate_descent,
        control=Control(
            "the worker's own F_k", lambda problem: _late_rate_descent(problem, lambda alone: alone)
        ),
    ),
)
