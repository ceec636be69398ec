"""Claims: the recovered map and its components against the truth, without and with noise.

Legend: Y = W X + E, W (m, d) of rank r* = 5, X (d, n) with smallest and largest singular value
smallest, largest and ratio kappa; s_k the singular values of W X, T_k = s_k - s_{k+1}; P_X the
projector on the row space of X; W_r the map recovered in r inexact steps with errors psi_k; tau_r
the Frobenius tail; rho_k = 2 + 6 s_k/T_k; E(k) the bound of `cascade.accumulated_error`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.perturbation.truncation import tail_norm
from linear_theory.sequential.cascade import recovery
from linear_theory.sequential.cascade.claims_steps import all_gaps_open
from linear_theory.sequential.cascade.instances import (
    INPUTS,
    MISS,
    RANK,
    RANK_ONE,
    ROWS,
    Run,
    draw_runs,
)

# The radius of the noise stays below a quarter of the smallest gap; 7.9 std is the radius.
_LARGEST = 0.25 / 7.95
draw_any = functools.partial(draw_runs, sizes=(1e-6, 3.0), tied=True)
draw_quiet = functools.partial(draw_runs, sizes=(1e-12, 1e-10))
draw_order_kept = functools.partial(draw_runs, sizes=(1e-10, 1.0), gap_std=(1e-3, _LARGEST))
draw_order_kept_quiet = functools.partial(draw_runs, sizes=(1e-14, 1e-13), gap_std=(1e-2, _LARGEST))
# The gap-free noisy bound is about steps of rank one, and any noise.
draw_noisy = functools.partial(
    draw_runs, sizes=(1e-6, 1.0), shapes=RANK_ONE, std=(1e-3, 1.0), tied=True
)
draw_noisy_quiet = functools.partial(
    draw_runs, sizes=(1e-12, 1e-10), shapes=RANK_ONE, std=(1e-3, 1.0), tied=True
)


def _component(run: Run) -> Evidence:
    bound = np.asarray(recovery.component_bound(run.values, run.errors, run.smallest))
    return Evidence(run.component_error, bound, all_gaps_open(run))


def _component_largest(run: Run) -> Evidence:
    return _component(run._replace(smallest=run.largest))


# Entry 0 of a bound is r = 0, where nothing was done yet.
def _map(run: Run) -> Evidence:
    bound = np.asarray(
        recovery.map_bound(run.map_values, run.values, run.errors, run.smallest, run.largest)
    )
    return Evidence(run.map_error[:, 1:], bound[:, 1:], all_gaps_open(run))


def _map_without_condition(run: Run) -> Evidence:
    excess = (run.largest / run.smallest - 1) * np.asarray(tail_norm(run.map_values))[
        :, 1 : RANK + 1
    ]
    return _map(run)._replace(bound=_map(run).bound - excess)


def _map_single(run: Run) -> Evidence:
    bound = np.asarray(recovery.map_bound_single(run.values, run.errors, run.smallest))
    return Evidence(run.map_error[:, 1:], bound[:, 1:], all_gaps_open(run))


def _map_single_largest(run: Run) -> Evidence:
    return _map_single(run._replace(smallest=run.largest))


def _map_gap_free(run: Run) -> Evidence:
    bound = np.asarray(recovery.map_bound_gap_free(run.values, run.errors, run.smallest))
    return Evidence(run.map_error[:, 1:], bound[:, 1:])


def _map_gap_free_own_tail(run: Run) -> Evidence:
    added = np.cumsum(run.errors, axis=1) / run.smallest
    return _map_gap_free(run)._replace(
        bound=np.asarray(tail_norm(run.map_values))[:, 1 : RANK + 1] + added
    )


def _radius(run: Run) -> np.ndarray:
    return recovery.noise_radius(ROWS, INPUTS, run.std, MISS)


def _theorem_3(run: Run, counted: float = 1.0) -> Evidence:
    radius = _radius(run)
    bound = np.asarray(
        recovery.noisy_map_bound(
            run.map_values,
            run.clean_values,
            run.errors,
            run.smallest,
            run.largest,
            counted * radius,
        )
    )
    gaps = run.clean_values[:, :RANK] - run.clean_values[:, 1 : RANK + 1]
    separated = radius <= gaps.min(axis=1, keepdims=True) / 4
    return Evidence(run.map_error[:, 1:], bound[:, 1:], separated & (run.noise_norm <= radius))


def _theorem_3_gap_free(run: Run, counted: float = 1.0) -> Evidence:
    radius = _radius(run)
    true_rank = np.sum(run.map_values > 1e-9, axis=1, keepdims=True)
    bound = np.asarray(
        recovery.noisy_map_bound_gap_free(
            run.clean_values, run.errors, run.smallest, true_rank, counted * radius
        )
    )
    return Evidence(run.map_error[:, 1:], bound[:, 1:], run.noise_norm <= radius)


CLAIMS = (
    Claim(
        name="cascade.component_recovery",
        source="arXiv 2505.22602, theorem 2, equation (10)",
        statement="Single components of the map, noiseless, for T_j > 0, j <= k.",
        formula="||b_k a_k^T - b*_k a*_k^T|| <= (psi_k + (1 + 6 s_k/T_k) E(k)) / smallest",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_component,
        control=Control("the largest singular value of X below", _component_largest),
    ),
    Claim(
        name="cascade.map_recovery",
        source="arXiv 2505.22602, theorem 2, equation (11)",
        statement="The map, noiseless, for T_k > 0, k <= r.",
        formula="||W - W_r|| <= kappa tau_r(W)"
        " + sum_{k<=r} sum_{i<=k} psi_i prod_{i<j<=k} rho_j / smallest",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_map,
        control=Control("without the condition number", _map_without_condition, draw_quiet),
    ),
    Claim(
        name="cascade.map_recovery_single",
        source="arXiv 2505.22602, theorem 2 with theorem 1",
        statement="Equation (11) with the tail of W X and the single sum, for T_k > 0, k <= r.",
        formula="||W - W_r|| <= (tau_r(W X) + E(r + 1)) / smallest",
        kind="upper",
        status="new",
        instances=draw_runs,
        measure=_map_single,
        control=Control("the largest singular value of X below", _map_single_largest, draw_quiet),
    ),
    Claim(
        name="cascade.map_recovery_gap_free",
        source="proved in recovery.map_bound_gap_free",
        statement="The map, noiseless, for any spectrum and any errors.",
        formula="||W - W_r|| <= (tau_r(W X) + sum_{k<=r} psi_k) / smallest",
        kind="upper",
        status="new",
        instances=draw_any,
        measure=_map_gap_free,
        control=Control(
            "tau_r(W) in place of tau_r(W X)/smallest", _map_gap_free_own_tail, draw_quiet
        ),
    ),
    Claim(
        name="cascade.theorem_3",
        source="arXiv 2505.22602, theorem 3",
        statement="The map from noisy targets, r <= r*, where the noise is within its radius eta"
        " (probability 1 - miss) and eta is at most a quarter of the smallest gap of W X.",
        formula="||W - W_r|| <= kappa tau_r(W) + (sum_k sum_i psi_i prod (5 + 12 s_j/T_j)"
        " + sqrt(r) (3 + 4 s_{r+1}/T_r) eta) / smallest",
        kind="upper",
        status="with a condition",
        instances=draw_order_kept,
        measure=_theorem_3,
        control=Control(
            "the noise left out, at r = r* and tiny errors",
            lambda run: _theorem_3(run, 0.0),
            draw_order_kept_quiet,
        ),
    ),
    Claim(
        name="cascade.theorem_3_gap_free",
        source="proved in recovery.noisy_map_bound_gap_free",
        statement="The map from noisy targets in rank-one steps, any r, any spectrum and any noise"
        " within its radius eta (probability 1 - miss).",
        formula="||W - W_r|| <= (tau_r(W X) + sum_{k<=r} psi_k + 2 sqrt(r + r*) eta) / smallest",
        kind="upper",
        status="new",
        instances=draw_noisy,
        measure=_theorem_3_gap_free,
        control=Control(
            "the noise left out, at r = r* and tiny errors",
            lambda run: _theorem_3_gap_free(run, 0.0),
            draw_noisy_quiet,
        ),
    ),
)
