"""Claims: the theorem with an explicit warm-up, its constants, and the Lambert-W inequality.

Legend: as in `warm_up` and `measured_run`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator
from linear_theory.parallel.measured_run import (
    FLOOR,
    Contraction,
    Run,
    aligned,
    and_predecessors,
    contraction_from,
    first_for_good,
    run,
)
from linear_theory.parallel.problems import (
    RANK,
    draw,
    separated_spectrum,
    slow_first_spectrum,
    slow_last_spectrum,
)
from linear_theory.parallel.self_correction import theory as self_correction
from linear_theory.parallel.self_correction import warm_up

TAU = 0.5
SOURCE_AMPLITUDE = 6.0
ALTERNATING_AMPLITUDE = 1.5  # self_correction.amplitude_bound under the gate


class Constants(NamedTuple):
    """gate: the recursion holds for delta_{k,l} <= gate T_k. transfer: its constants c_k."""

    gate: float
    transfer: np.ndarray


def integrated_constants(values: np.ndarray) -> Constants:
    """The constants of the integrated lemma at tau = 1/2."""
    radius = self_correction.gate_radius(values, TAU)[:, :RANK]
    return Constants(TAU / math.sqrt(2), self_correction.transfer_constant(values, radius))


def source_constants(values: np.ndarray) -> Constants:
    """The published constants."""
    return Constants(0.5, self_correction.source_constant(values, RANK))


@jax.jit
def _warm_up(values, contraction, rates, burn_in, transfer, gate, amplitude):
    couplings = self_correction.coupling(values, contraction, transfer)
    return warm_up.warm_up_rounds(values, rates, burn_in, couplings, gate, amplitude)


def _settle(current: Run, constants, amplitude, rates=warm_up.proved_rates):
    """Measured contractions, the rates m_k made of them, and the warm-up s_k."""
    contraction = contraction_from(current, aligned(current))
    rates = np.asarray(rates(contraction.rate))
    gate, transfer = constants(current.values)
    rounds = _warm_up(
        current.values,
        contraction.rate,
        rates,
        contraction.first + 1.0,
        transfer,
        gate,
        amplitude,
    )
    return contraction, rates, np.asarray(rounds)


def _settled(current: Run, contraction: Contraction, rates, rounds, amplitude) -> Evidence:
    """G_{k,l} against its bound for l >= s_k - 1, where the contractions are as assumed."""
    count = current.relative.shape[1]
    index = np.arange(count)[:, None]
    bound = warm_up.settled_bound(rates, rounds, index[:, 0], amplitude)
    # Entry l of holds speaks of the rounds up to l; the start has none.
    holds = np.pad(contraction.holds, ((0, 0), (1, 0), (0, 0)))
    holds |= index <= contraction.first[:, None]
    premise = and_predecessors(holds & _proper(contraction)[:, None])
    premise &= (index >= rounds[:, None] - 1) & (current.trajectory.error > FLOOR)
    return Evidence(current.relative, bound, premise)


def _proper(contraction: Contraction) -> np.ndarray:
    """The burn-in ends, and what follows contracts."""
    return (contraction.rate < 1) & (contraction.first < contraction.holds.shape[1])


def theorem_b(
    problem,
    constants=integrated_constants,
    amplitude=SOURCE_AMPLITUDE,
    rates=warm_up.proved_rates,
    recorded=run,
) -> Evidence:
    """G_{k,l} against the theorem's bound, of a run that `recorded` makes of the problem."""
    current = recorded(problem)
    return _settled(current, *_settle(current, constants, amplitude, rates), amplitude)


def _theorem_b_printed(problem) -> Evidence:
    current = run(problem)
    contraction, rates, _ = _settle(current, source_constants, SOURCE_AMPLITUDE)
    rounds = np.asarray(warm_up.warm_up_rounds_printed(current.values, rates))
    return _settled(current, contraction, rates, rounds, SOURCE_AMPLITUDE)


def _theorem_b_at_once(problem) -> Evidence:
    current = run(problem)
    contraction, rates, _ = _settle(current, integrated_constants, ALTERNATING_AMPLITUDE)
    rounds = np.maximum(contraction.first + 1.0, np.arange(1.0, RANK + 1))
    return _settled(current, contraction, rates, rounds, ALTERNATING_AMPLITUDE)


def _gates(problem, staggering_alone: bool = False) -> Evidence:
    """The round from which the gates of workers 2, ..., r hold for good."""
    current = run(problem)
    contraction, _, rounds = _settle(current, integrated_constants, ALTERNATING_AMPLITUDE)
    radius = np.asarray(self_correction.gate_radius(current.values, TAU))[:, None, :RANK]
    measured = first_for_good(current.mismatch <= radius) + 1
    bound = (
        np.broadcast_to(np.arange(1, RANK + 1.0), rounds.shape) if staggering_alone else rounds - 1
    )
    all_rounds = contraction.holds[:, -1] & _proper(contraction)
    premise = and_predecessors(all_rounds) & np.isfinite(rounds) & (np.arange(RANK) > 0)
    return Evidence(measured, bound, premise)


def _draw_levels(key, trials):
    """m in (0.05, 0.98) and ln y in (-20, 1)."""
    numbers = generator(key)
    uniform = numbers.random((2, trials, 1))
    return 0.05 + 0.93 * uniform[0], np.exp(-20 + 21 * uniform[1])


def _waiting(levels, exact: bool = True) -> Evidence:
    rate, level = levels
    decay = -np.log(rate)
    first = np.asarray(warm_up.rounds_until(rate, level))
    if not exact:
        first = np.maximum(1, -np.log(decay * level)) / decay
    rounds = first + np.array([0.0, 0.01, 0.1, 1.0, 10.0])
    return Evidence(rounds * rate**rounds, level)


def settling_spectrum(uniform: np.ndarray) -> np.ndarray:
    """Half of the instances with a slow worker behind fast ones: later workers are then still above
    the float floor when their warm-up is over."""
    late = (np.arange(len(uniform)) % 2 == 0)[:, None]
    return np.where(late, slow_last_spectrum(uniform), separated_spectrum(uniform))


def _draw(key, trials):
    return draw(key, trials, settling_spectrum)


def _draw_slow_first(key, trials):
    return draw(key, trials, slow_first_spectrum)


def _draw_tilted(key, trials):
    """Starts nearly orthogonal to the top direction: a long burn-in."""
    return draw(key, trials, overlap=np.full(trials, 1e-6))


_BOUND = "G_{k,l} <= A (l - s_k + 2) m_k^{l - s_k + 1}, m_k = max(F_k, 1/k + (k-1)/k m_{k-1})"

CLAIMS = (
    Claim(
        name="self_correction.lambert_inequality",
        source="arXiv 2502.17615, proof of theorem 2",
        statement="How long to wait until x m^x is small.",
        formula="x m^x <= y for all x >= What(a y)/a, a = ln(1/m)",
        kind="upper",
        status="as printed",
        instances=_draw_levels,
        measure=_waiting,
        control=Control(
            "the leading term max(1, -ln(a y)) in place of What(a y)",
            lambda levels: _waiting(levels, exact=False),
        ),
    ),
    Claim(
        name="self_correction.theorem_b",
        source="arXiv 2502.17615, theorem 2; constants proved in warm_up.warm_up_rounds",
        statement="With the integrated lemma's gate and couplings, A = 6, and s_1 the end of the "
        "burn-in after which F_k holds.",
        formula=_BOUND + ", s_k as in warm_up_rounds",
        kind="upper",
        status="corrected",
        instances=_draw,
        measure=theorem_b,
        control=Control(
            "m_k = F_k: every worker at its own rate, behind a slow first one",
            lambda problem: theorem_b(problem, rates=warm_up.own_rates),
            _draw_slow_first,
        ),
    ),
    Claim(
        name="self_correction.theorem_b_source",
        source="arXiv 2502.17615, theorem 2",
        statement="With the published gate T_k/2 and constant 1 + 6 s_k/T_k, if s_1 is the end of "
        "the burn-in after which F_k holds (printed: s_1 = 1, and m_1 = 1).",
        formula=_BOUND + ", A = 6",
        kind="upper",
        status="with a condition",
        instances=_draw,
        measure=lambda problem: theorem_b(problem, source_constants),
        control=Control(
            "the printed s_k with s_1 = 1, F_k measured after a burn-in",
            _theorem_b_printed,
            _draw_tilted,
        ),
    ),
    Claim(
        name="self_correction.theorem_b_alternating",
        source="proved in warm_up.warm_up_rounds and self_correction.amplitude_bound",
        statement="Alternating steps: the amplitude is 3/2 and no assumption.",
        formula=_BOUND + ", A = 3/2",
        kind="upper",
        status="new",
        instances=_draw,
        measure=lambda problem: theorem_b(problem, amplitude=ALTERNATING_AMPLITUDE),
        control=Control(
            "no warm-up beyond the burn-in: s_k = max(k, e_k)",
            _theorem_b_at_once,
            _draw_slow_first,
        ),
    ),
    Claim(
        name="self_correction.warm_up",
        source="arXiv 2605.10741, warm-up; proved in warm_up.warm_up_rounds",
        statement="The mismatch of worker k stays below its gate from round s_k - 1 on.",
        formula="delta_{k,l} <= T_k/(2 sqrt(2)) for l >= s_k - 1, k >= 2",
        kind="upper",
        status="corrected",
        instances=_draw,
        measure=_gates,
        control=Control("staggering alone: from round k on", lambda problem: _gates(problem, True)),
    ),
)
