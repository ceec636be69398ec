"""Claims: the training error after r inexact rank-one steps.

Legend: X (d, n) inputs of rank d <= n, Y (m, n) targets, P_X the projector on the row space of X;
s_k the singular values of Y P_X, T_k = s_k - s_{k+1}, tau_r = (sum_{i>r} s_i^2)^{1/2}; Y_{r+1} the
residual after r steps; psi_k = ||Psi_k|| the error of step k; rho_k = 2 + 6 s_k/T_k; E(k) the
bound of `cascade.accumulated_error`. Every r from 1 to 5 is a point.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.perturbation.theory import spectral_gaps
from linear_theory.perturbation.truncation import tail_norm
from linear_theory.sequential.cascade import theory as cascade
from linear_theory.sequential.cascade.claims_steps import all_gaps_open
from linear_theory.sequential.cascade.instances import RANK, Run, draw_runs

# Errors small enough for the mismatch to stay below half a gap.
draw_small = functools.partial(draw_runs, sizes=(1e-8, 1e-3))
draw_last = functools.partial(draw_runs, sizes=(1e-2, 1.0), profiles=("last",))
# Any spectrum and errors of the size of the target.
draw_any = functools.partial(draw_runs, sizes=(1e-6, 3.0), tied=True)
draw_noisy = functools.partial(draw_runs, std=(1e-2, 1.0))
draw_noisy_quiet = functools.partial(draw_runs, sizes=(1e-12, 1e-10), std=(1e-2, 1.0))


def _without_last(run: Run) -> Run:
    """The run as a bound sees it that leaves out the error of the last step, r = R."""
    mask = np.arange(RANK) < RANK - 1
    return run._replace(errors=mask * run.errors, errors_spectral=mask * run.errors_spectral)


# Entry 0 of a bound is r = 0, where nothing was done yet.
def _theorem_1(run: Run) -> Evidence:
    bound = np.asarray(cascade.training_bound_single(run.values, run.errors))
    return Evidence(run.residual[:, 1:], bound[:, 1:], all_gaps_open(run))


def _theorem_4(run: Run) -> Evidence:
    bound = np.asarray(cascade.training_bound_double(run.values, run.errors))
    return Evidence(run.residual[:, 1:], bound[:, 1:], all_gaps_open(run))


def _theorem_1_improved(run: Run) -> Evidence:
    factors = np.asarray(cascade.improved_amplification(run.values))[:, :RANK]
    bound = np.asarray(tail_norm(run.values))[:, : RANK + 1] + np.asarray(
        cascade.recurrence_bound(factors, run.errors)
    )
    within = run.mismatch_spectral[:, :-1] <= np.asarray(spectral_gaps(run.values))[:, :RANK] / 2
    within = np.cumprod(within, axis=1) > 0
    return Evidence(run.residual[:, 1:], bound[:, 1:], all_gaps_open(run) & within)


def _theorem_n(run: Run) -> Evidence:
    bound = np.asarray(cascade.training_bound_gap_free(run.values, run.errors))
    return Evidence(run.residual[:, 1:], bound[:, 1:])


def _theorem_n_spectral(run: Run) -> Evidence:
    bound = np.asarray(cascade.training_bound_gap_free_spectral(run.values, run.errors_spectral))
    return Evidence(run.residual_spectral[:, 1:], bound[:, 1:])


def _split(run: Run) -> Evidence:
    error = np.abs(run.training**2 - run.outside**2 - run.residual**2)
    scale = np.sum(run.raw_values**2, axis=1, keepdims=True) + run.training**2
    return Evidence(error, 100 * np.finfo(error.dtype).eps * scale)


def _split_without_outside(run: Run) -> Evidence:
    return _split(run._replace(outside=np.zeros_like(run.outside)))


def _theorem_1_noisy(run: Run) -> Evidence:
    inside = np.asarray(cascade.training_bound_single(run.values, run.errors))[:, 1:]
    bound = np.hypot(run.outside, inside)
    return Evidence(run.training[:, 1:], bound, all_gaps_open(run))


def _theorem_1_raw(run: Run) -> Evidence:
    bound = np.asarray(cascade.training_bound_single(run.raw_values, run.errors))[:, 1:]
    return _theorem_1_noisy(run)._replace(bound=bound)


def _theorem_n_noisy(run: Run) -> Evidence:
    inside = np.asarray(cascade.training_bound_gap_free(run.values, run.errors))[:, 1:]
    return Evidence(run.training[:, 1:], np.hypot(run.outside, inside))


def _theorem_n_raw(run: Run) -> Evidence:
    bound = np.asarray(cascade.training_bound_gap_free(run.raw_values, run.errors))[:, 1:]
    return Evidence(run.training[:, 1:], bound)


def _omitting_last(measure) -> Control:
    return Control(
        "the error of the last step omitted, at r = r*",
        lambda run: measure(_without_last(run)),
        draw_last,
    )


CLAIMS = (
    Claim(
        name="cascade.theorem_1",
        source="arXiv 2505.22602, theorem 1",
        statement="Training error by amplified errors of the single steps; only T_k > 0, k <= r, is"
        " needed, not the printed E(k) < T_k/2. The product runs over later steps.",
        formula="||Y_{r+1} P_X|| <= tau_r + sum_{k<=r} psi_k prod_{k<j<=r} rho_j",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_theorem_1,
        control=_omitting_last(_theorem_1),
    ),
    Claim(
        name="cascade.theorem_4",
        source="arXiv 2505.22602, theorem 4",
        statement="The double-sum form of theorem 1, for T_k > 0, k <= r.",
        formula="||Y_{r+1} P_X|| <= tau_r + sum_{k<=r} sum_{i<=k} psi_i prod_{i<j<=k} rho_j",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_theorem_4,
        control=_omitting_last(_theorem_4),
    ),
    Claim(
        name="cascade.theorem_1_improved",
        source="proved in cascade.improved_amplification",
        statement="Theorem 1 with smaller factors, while ||Y*_k - Y_k||_2 <= T_k/2 for k <= r.",
        formula="||Y_{r+1} P_X|| <= tau_r + sum_{k<=r} psi_k prod_{k<j<=r} 4 s_j/T_j",
        kind="upper",
        status="new",
        instances=draw_small,
        measure=_theorem_1_improved,
        control=_omitting_last(_theorem_1_improved),
    ),
    Claim(
        name="cascade.theorem_n",
        source="proved in cascade.training_bound_gap_free",
        statement="The training error does not cascade: any spectrum, ties and zeros included, any"
        " errors, no amplification. It implies theorems 1 and 4.",
        formula="||Y_{r+1} P_X|| <= tau_r + sum_{k<=r} psi_k",
        kind="upper",
        status="new",
        instances=draw_any,
        measure=_theorem_n,
        control=_omitting_last(_theorem_n),
    ),
    Claim(
        name="cascade.theorem_n_spectral",
        source="proved in cascade.training_bound_gap_free_spectral",
        statement="The same in spectral norm.",
        formula="||Y_{r+1} P_X||_2 <= s_{r+1} + sum_{k<=r} ||Psi_k||_2",
        kind="upper",
        status="new",
        instances=draw_any,
        measure=_theorem_n_spectral,
        control=_omitting_last(_theorem_n_spectral),
    ),
    Claim(
        name="cascade.training_split",
        source="arXiv 2505.22602, setting of theorem 1",
        statement="What lies outside the row space of X never changes and adds in squares.",
        formula="||Y_{r+1}||^2 = ||Y (I - P_X)||^2 + ||Y_{r+1} P_X||^2",
        kind="identity",
        status="new",
        instances=draw_noisy,
        measure=_split,
        control=Control("the part outside left out", _split_without_outside),
    ),
    Claim(
        name="cascade.theorem_1_noisy",
        source="arXiv 2505.22602, theorem 1",
        statement="Theorem 1 with noise and n > d: the singular values are those of Y P_X, and the"
        " part outside the row space adds in squares.",
        formula="||Y_{r+1}||^2 <= ||Y (I - P_X)||^2 + (tau_r(Y P_X) + E(r + 1))^2",
        kind="upper",
        status="corrected",
        instances=draw_noisy,
        measure=_theorem_1_noisy,
        control=Control(
            "as printed, ||Y_{r+1}|| <= tau_r(Y) + E(r + 1) from the singular values of Y",
            _theorem_1_raw,
            draw_noisy_quiet,
        ),
    ),
    Claim(
        name="cascade.theorem_n_noisy",
        source="proved in cascade.training_bound_gap_free",
        statement="The gap-free training bound with noise and n > d.",
        formula="||Y_{r+1}||^2 <= ||Y (I - P_X)||^2 + (tau_r(Y P_X) + sum_{k<=r} psi_k)^2",
        kind="upper",
        status="new",
        instances=draw_noisy,
        measure=_theorem_n_noisy,
        control=Control(
            "the singular values of Y, ||Y_{r+1}|| <= tau_r(Y) + sum psi_k",
            _theorem_n_raw,
            draw_noisy_quiet,
        ),
    ),
)
