"""Claims: how long a parallel run takes, what advance learning is worth, what rounds cannot mend.

Legend: as in `measured_run` and `late_phase`; alternating steps.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import FLOOR, first_for_good, run
from linear_theory.parallel.problems import RANK, Problem, draw, slow_first_spectrum
from linear_theory.parallel.self_correction import contraction, late_phase

ACCURACY = 1e-8  # of G_k, at which a run is done
LATE = 1e-3  # G_k of the run without advance learning from which on runs are compared
SIZE = 1e-3  # of the change at the start


def _longest_worker(problem: Problem, half: float = 0.5) -> Evidence:
    """Rounds until all workers are done, against those of workers behind exact predecessors."""
    current = run(problem)
    done = first_for_good(np.all(current.relative < ACCURACY, axis=2))
    rates = np.asarray(contraction.alternating_rate(current.values))[:, :RANK]
    cosine = np.diagonal(current.trajectory.modes[:, 0], axis1=1, axis2=2)
    tangent = np.sqrt(1 - cosine**2) / cosine
    alone = np.ceil(np.log(np.maximum(tangent, 1) / ACCURACY) / -np.log(rates))
    longest, whole = alone.max(axis=1), alone.sum(axis=1)
    return Evidence(done, longest + half * (whole - longest), done < current.relative.shape[1])


def _advance(problem: Problem, share: float = 1.0) -> Evidence:
    """G_k with advance learning over G_k without, in the last round in which both have digits.

    The median over all instances, which they share, (trials, r - 1).
    """
    with_, without = (run(problem, advance=advance).relative for advance in (True, False))
    digits = (with_ > 10 * FLOOR) & (without > 10 * FLOOR) & (without < LATE)
    last = with_.shape[1] - 1 - np.flip(digits, 1).argmax(axis=1)[:, None]
    ratio = np.take_along_axis(with_ / np.maximum(without, FLOOR), last, axis=1)[:, 0, 1:]
    median = np.nanmedian(np.where(digits.any(axis=1)[:, 1:], ratio, np.nan), axis=0)
    return Evidence(np.broadcast_to(median, ratio.shape), share)


def _floor(problem: Problem, predecessors: float = 1.0) -> Evidence:
    """Errors after the worker's own rounds against the modes that its predecessors have kept."""
    trajectory = run(problem, method="sequential").trajectory
    values, modes = np.asarray(problem.values), trajectory.modes[:, -1]
    own = np.triu(np.ones(modes.shape[1:], bool))
    modes = np.where(own, modes, 0)
    # Modes j < k of worker k are minus the modes k of worker j, as these are frozen.
    kept = np.asarray(late_phase.first_order_errors(0 * modes, predecessors * modes, values))
    error, floor = trajectory.error[:, -1, 1:], kept[:, 1:]
    return Evidence(error, (1 - LATE) * floor, kept[:, 1:] > 1e-9)


# A slow first worker leaves enough to be seen.
_draw_near = functools.partial(draw, spectrum=slow_first_spectrum, near=True, size=SIZE)

CLAIMS = (
    Claim(
        name="self_correction.longest_worker",
        source="arXiv 2605.10741, section VII: the longest worker, not the sum",
        statement="Rounds until every component is right to 1e-8 are nearer to those of the worker "
        "that takes longest behind exact predecessors than to the sum over workers.",
        formula="rounds <= (max_k N_k + sum_k N_k)/2, N_k = ln(1e8 tan t_k) / ln(1/F_k)",
        kind="upper",
        status="with a condition",
        instances=draw,
        measure=_longest_worker,
        control=Control("max_k N_k itself", functools.partial(_longest_worker, half=0.0)),
    ),
    Claim(
        name="self_correction.advance_learning",
        source="arXiv 2605.10741, section IV: a leading constant that is a third smaller",
        statement="Advance learning leaves smaller errors in the median, and the more so the later "
        "the worker: .95, .66 and .50 times for workers 2 to 4. It leaves larger ones in a run of "
        "four.",
        formula="median G_k with / G_k without <= 1, k >= 2, in the end",
        kind="upper",
        status="corrected",
        instances=draw,
        measure=_advance,
        control=Control("two thirds for every worker", functools.partial(_advance, share=2 / 3)),
    ),
    Claim(
        name="self_correction.sequential_floor",
        source="arXiv 2605.10741, section II: iterating refines against a wrong target",
        statement="Sequential deflation: what a worker's predecessors have left in its direction "
        "stays in its error, however many rounds it takes.",
        formula="E_k >= (sum_{j<k} eps_{j,k}^2 (s_j^2 + s_k^2))^{1/2} to first order",
        kind="lower",
        status="with a condition",
        instances=_draw_near,
        measure=_floor,
        control=Control("twice as much", functools.partial(_floor, predecessors=2.0)),
    ),
)
