"""Claims: how errors of predecessors couple into a worker in one round, and in all rounds.

Legend: as in `self_correction` and `measured_run`.
"""

from __future__ import annotations

import math

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import (
    ROUNDING,
    aligned,
    and_predecessors,
    contraction_from,
    first_for_good,
    follows,
    run,
)
from linear_theory.parallel.problems import RANK, VALUES, draw, slow_first_spectrum
from linear_theory.parallel.self_correction import theory as self_correction

TAU = 0.5  # how far the gates are open, in units of where the gap of the target may close


def _mismatch(problem, late: int = 0) -> Evidence:
    current = run(problem)
    shown = current.trajectory.shown
    bound = self_correction.mismatch_bound(shown[:, 1:] if late else shown[:, :-1])
    return Evidence(current.trajectory.mismatch, bound, follows(current))


def _amplitude(problem, beside: bool = True) -> Evidence:
    current = run(problem)
    bound = self_correction.amplitude_bound(current.values[:, None], current.mismatch)
    if not beside:  # as if the other singular values were zero
        bound = 1 + current.mismatch / current.values[:, None, :RANK]
    return Evidence(current.relative[:, 1:], bound, current.trajectory.published[:, 1:])


def _one_step_integrated(problem, coupled: float = 1.0) -> Evidence:
    current = run(problem)
    constant = self_correction.transfer_constant(current.values[:, None], current.mismatch)
    # An infinite constant is no statement, and 0 times infinity none of a control.
    open_gate = np.isfinite(constant)
    bound = self_correction.one_step_bound(
        current.contraction,
        current.trajectory.error[:, :-1],
        coupled * current.mismatch,
        np.where(open_gate, constant, 0),
    )
    return Evidence(current.trajectory.error[:, 1:], bound, follows(current) & open_gate)


def one_step_source(problem, kept: float = 1.0, recorded=run) -> Evidence:
    """One round with the published constant, of a run that `recorded` makes of the problem."""
    current = recorded(problem)
    constant = self_correction.source_constant(current.values[:, None], RANK)
    errors = kept * current.trajectory.error[:, :-1]
    bound = self_correction.one_step_bound(current.contraction, errors, current.mismatch, constant)
    return Evidence(current.trajectory.error[:, 1:], bound, follows(current))


def _theorem_a(problem, coupled: float = 1.0) -> Evidence:
    """The envelope of worker k starts in the round before the conditions hold for good."""
    current = run(problem)
    rounds = current.contraction.shape[1]
    radius = np.asarray(self_correction.gate_radius(current.values, TAU))[:, :RANK]
    gates = (current.mismatch <= radius[:, None]) & current.trajectory.published[:, 1:]
    first, rate, holds = contraction_from(current, and_predecessors(gates & aligned(current)))
    constant = self_correction.transfer_constant(current.values, radius)
    couplings = coupled * self_correction.coupling(current.values, rate, constant)
    starts = np.take_along_axis(current.relative, first[:, :, None], axis=1)
    paths = self_correction.envelope(couplings[:, None], rate[:, None], starts, rounds)
    paths = np.moveaxis(np.diagonal(paths, axis1=2, axis2=3), 0, 1)  # (trials, t, k)
    since = np.arange(1, rounds + 1)[:, None] - first[:, None]
    bound = np.take_along_axis(paths, np.maximum(since, 0), axis=1)
    premise = follows(current) & (since > 0) & and_predecessors(holds | (since <= 0))
    premise &= and_predecessors(rate < 1)[:, None]
    return Evidence(current.relative[:, 1:], bound, premise)


def _small_gap_spectrum(uniform: np.ndarray) -> np.ndarray:
    """s_2 in (0.6, 0.8) and a gap T_2 from 0.005 to 0.3, uniform in its logarithm."""
    second = 0.6 + 0.2 * uniform[:, :1]
    third = second - 0.005 * 60 ** uniform[:, 1:2]
    tail = third * 0.7 ** np.arange(VALUES - 2)
    return np.concatenate([np.ones_like(second), second, tail], axis=1)


def _draw_small_gap(key, trials):
    return draw(key, trials, _small_gap_spectrum)


def _second_gate(problem, gap_matters: bool = True) -> Evidence:
    current = run(problem)
    radius = np.asarray(self_correction.gate_radius(current.values, TAU))[:, 1:2]
    visible = current.mismatch[:, :, 1] <= radius + ROUNDING
    cosine = current.trajectory.modes[:, 0, 0, 0]
    gate = TAU / math.sqrt(2)
    if not gap_matters:
        gate = gate / (current.values[:, 1] - current.values[:, 2])
    bound = self_correction.second_gate_round(current.values, cosine, gate=gate)
    return Evidence(first_for_good(visible) + 1, np.ceil(bound))


def _draw_slow_first(key, trials):
    return draw(key, trials, slow_first_spectrum)


def _draw_tilted(key, trials):
    """First directions nearly orthogonal to the top one, so that the first round overshoots."""
    return draw(key, trials, overlap=np.full(trials, 1e-4))


CLAIMS = (
    Claim(
        name="self_correction.mismatch",
        source="arXiv 2605.10741, self-correction",
        statement="A worker's target is off by at most what its predecessors had published last.",
        formula="||M_{k,l} - M*_k|| <= sum_{j<k} s_j G_{j,l-1}",
        kind="upper",
        status="as printed",
        instances=draw,
        measure=_mismatch,
        control=Control("errors of the same round l", lambda problem: _mismatch(problem, 1)),
    ),
    Claim(
        name="self_correction.amplitude",
        source="proved in self_correction.amplitude_bound; arXiv 2502.17615, theorem 2 has 6",
        statement="Alternating steps: the error of a published component, in every round.",
        formula="G_{k,l} <= sqrt(1 + (s_{k+1}/s_k)^2) + delta_{k,l}/s_k, <= 3/2 if delta <= T_k/2",
        kind="upper",
        status="new",
        instances=draw,
        measure=_amplitude,
        control=Control(
            "1 + delta/s_k, from starts nearly orthogonal to the top direction",
            lambda problem: _amplitude(problem, beside=False),
            _draw_tilted,
        ),
    ),
    Claim(
        name="self_correction.one_step",
        source="proved in self_correction.one_step_bound; constant of perturbation.rank_one_*",
        statement="One round, if sqrt(2) delta_{k,l} < T_k: contraction plus coupling.",
        formula="E_{k,l} <= F E_{k,l-1} + (1 + F) c(sqrt(2) delta/T_k) delta_{k,l}, "
        "c(t) = L s_k/T_k + (L - 1)/sqrt(2), L = -ln(1 - t)/t",
        kind="upper",
        status="new",
        instances=draw,
        measure=_one_step_integrated,
        control=Control("no coupling", lambda problem: _one_step_integrated(problem, 0.0)),
    ),
    Claim(
        name="self_correction.one_step_source",
        source="arXiv 2502.17615, proof of theorem 2; arXiv 2505.22602, lemma 3",
        statement="One round with the published constant, whatever the mismatch is.",
        formula="E_{k,l} <= F E_{k,l-1} + (1 + F) (1 + 6 s_k/T_k) delta_{k,l}",
        kind="upper",
        status="as printed",
        instances=draw,
        measure=one_step_source,
        control=Control(
            "no memory: the coupling term alone", lambda problem: one_step_source(problem, 0.0)
        ),
    ),
    Claim(
        name="self_correction.theorem_a",
        source="proved in self_correction.envelope",
        statement="Once delta_{j,l} <= T_j/(2 sqrt(2)) and F_j < 1 hold for all j <= k, errors "
        "decay geometrically.",
        formula="G_{.,l} <= N^{l-l0} G_{.,l0}, N_kk = F_k, N_kj = (1 + F_k) c_k s_j/s_k, j < k",
        kind="upper",
        status="new",
        instances=draw,
        measure=_theorem_a,
        control=Control(
            "no couplings: every worker at its own F_k, behind a slow first one",
            lambda problem: _theorem_a(problem, 0.0),
            _draw_slow_first,
        ),
    ),
    Claim(
        name="self_correction.second_gate",
        source="proved in self_correction.second_gate_round",
        statement="Alternating steps: the warm-up of worker 2 grows with the log of one over its "
        "gap.",
        formula="delta_{2,l} <= g T_2 for l >= 1 + max(1, ln(s_1 sqrt(1 + q^2) tan t/(g T_2)) / "
        "(2 ln(1/q))), q = s_2/s_1",
        kind="upper",
        status="new",
        instances=_draw_small_gap,
        measure=_second_gate,
        control=Control(
            "s_1 in place of the gap T_2", lambda problem: _second_gate(problem, False)
        ),
    ),
)
