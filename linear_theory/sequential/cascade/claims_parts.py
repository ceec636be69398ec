"""Claims: the three parts of the error, and what is left of them when noise is fitted too.

Legend: Y = W X + E, W of rank r*, P_X the projector on the row space of X, eta its noise radius;
s_k, u_k, v_k the singular triples of Y P_X, T_k = s_k - s_{k+1}, tau_r = (sum_{i>r} s_i^2)^{1/2};
c_k the best rank-one fit of the residual Y_k, Psi_k = b_k a_k^T X - c_k, psi_k = ||Psi_k||; W_r the
map recovered in r steps. The parts of the error after r steps: tau_r, the ground truth's own;
D_r = ||sum_{k<=r} (s_k u_k v_k^T - c_k)||, propagation; O_r = ||sum_{k<=r} Psi_k||, optimisation.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.perturbation.truncation import tail_norm, truncation_bound_above_rank
from linear_theory.sequential.cascade import theory as cascade
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
from linear_theory.sequential.cascade.recovery import noise_radius

# Any spectrum, and errors of the size of the target.
draw_any = functools.partial(draw_runs, sizes=(1e-2, 3.0), tied=True)
draw_overfitted = functools.partial(
    draw_runs, sizes=(1e-14, 1e-6), shapes=RANK_ONE, std=(1e-3, 1.0), ranks=(2, 3, 4)
)


def _parts(run: Run, optimisation: bool = True) -> Evidence:
    tail = np.asarray(tail_norm(run.values))[:, 1 : RANK + 1]
    bound = tail + run.propagation + optimisation * run.optimisation
    return Evidence(run.residual[:, 1:], bound)


def _propagation(run: Run, factor: float = 2.0) -> Evidence:
    errors = np.asarray(cascade.training_bound_gap_free(run.values, run.errors))[:, 1:]
    return Evidence(run.propagation, factor * errors)


def _overfitted(run: Run, counted: bool = True) -> Evidence:
    """Points r > r* whose gaps in Y P_X are open."""
    radius = noise_radius(ROWS, INPUTS, run.std, MISS)
    true_rank = np.sum(run.map_values > 1e-9, axis=1, keepdims=True)
    tail = np.asarray(tail_norm(run.values))
    double = np.asarray(cascade.training_bound_double(run.values, run.errors)) - tail[:, : RANK + 1]
    ranks = np.arange(1, RANK + 1)
    noise = np.asarray(truncation_bound_above_rank(ranks, true_rank, radius))
    bound = (double[:, 1:] + counted * noise) / run.smallest
    above = (ranks > true_rank) & all_gaps_open(run) & (run.noise_norm <= radius)
    return Evidence(run.map_error[:, 1:], bound, above)


CLAIMS = (
    Claim(
        name="cascade.parts",
        source="arXiv 2505.22602, appendix A",
        statement="The error is at most the sum of the three parts, for any spectrum and errors.",
        formula="||Y_{r+1} P_X|| <= tau_r + D_r + O_r",
        kind="upper",
        status="as printed",
        instances=draw_any,
        measure=_parts,
        control=Control(
            "the optimisation part left out", functools.partial(_parts, optimisation=False)
        ),
    ),
    Claim(
        name="cascade.propagation",
        source="derived here from theorem N; arXiv 2505.22602, appendix A",
        statement="What propagates is no more than twice the tail and all errors of the steps: "
        "there is no factor of a gap, for any spectrum and errors.",
        formula="D_r <= 2 tau_r + 2 sum_{k<=r} psi_k",
        kind="upper",
        status="corrected",
        instances=draw_any,
        measure=_propagation,
        control=Control("a fourth of it", functools.partial(_propagation, factor=0.5)),
    ),
    Claim(
        name="cascade.theorem_3_overfitted",
        source="arXiv 2505.22602, theorem 3, r > r*",
        statement="The map from noisy targets with more components than the truth has, where the "
        "gaps of Y P_X, of noise from r* on, are open: the cascade over them holds.",
        formula="||W - W_r|| <= (sum_{k<=r} sum_{i<=k} psi_i prod_{i<j<=k} rho_j"
        " + 2 sqrt(r + r*) eta) / smallest",
        kind="upper",
        status="with a condition",
        instances=draw_overfitted,
        measure=_overfitted,
        control=Control("the noise left out", functools.partial(_overfitted, counted=False)),
    ),
)
