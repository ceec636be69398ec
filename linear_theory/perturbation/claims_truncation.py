"""Claims: how far the best approximation of rank r moves when the matrix is perturbed.

Legend: M (m, d) a matrix of rank r*, E its perturbation, eta = ||E||_2; s_r the singular values of
M, T_r = s_r - s_{r+1}, tau_r = (sum_{i>r} s_i^2)^{1/2}; M_(r) the best approximation of rank r;
||.|| is the Frobenius norm.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.perturbation import truncation
from linear_theory.perturbation.claims_rank_one import draw_mixing, within_half_gap
from linear_theory.perturbation.instances import Comparison, draw_comparisons


def _ranks(pair: Comparison) -> np.ndarray:
    return np.arange(1, pair.values.shape[1] + 1)


def _below_rank(pair: Comparison) -> Evidence:
    bound = np.asarray(truncation.truncation_bound_below_rank(pair.values, pair.norm_spectral))
    premise = (_ranks(pair) <= pair.rank) & within_half_gap(pair)
    return Evidence(pair.shift, bound, premise)


def _below_rank_without_gap(pair: Comparison) -> Evidence:
    bound = 3 * np.sqrt(_ranks(pair).astype(float)) * pair.norm_spectral
    return _below_rank(pair)._replace(bound=bound)


def _above_rank(pair: Comparison) -> Evidence:
    bound = np.asarray(
        truncation.truncation_bound_above_rank(_ranks(pair), pair.rank, pair.norm_spectral)
    )
    return Evidence(pair.error, bound, _ranks(pair) > pair.rank)


def _above_rank_halved(pair: Comparison) -> Evidence:
    bound = np.sqrt(_ranks(pair).astype(float)) * pair.norm_spectral
    return _above_rank(pair)._replace(bound=bound)


def _gap_free(pair: Comparison) -> Evidence:
    bound = np.asarray(
        truncation.truncation_bound_gap_free(pair.values, pair.rank, pair.norm_spectral)
    )
    return Evidence(pair.error, bound[:, 1:])


def _tail_alone(pair: Comparison) -> Evidence:
    return Evidence(pair.error, np.asarray(truncation.tail_norm(pair.values))[:, 1:])


CLAIMS = (
    Claim(
        name="perturbation.truncation_below_rank",
        source="arXiv 2505.22602, lemma 4, first case",
        statement="Best approximations of rank r <= r* move with the noise and the gap after r.",
        formula="||(M + E)_(r) - M_(r)|| <= sqrt(r) (3 + 4 s_{r+1}/T_r) eta, eta <= T_r/2",
        kind="upper",
        status="with a condition",
        instances=draw_comparisons,
        measure=_below_rank,
        control=Control("3 sqrt(r) eta, the gap left out", _below_rank_without_gap, draw_mixing),
    ),
    Claim(
        name="perturbation.truncation_above_rank",
        source="arXiv 2505.22602, lemma 4, second case",
        statement="Best approximations of rank r > r* are off by the noise alone, with no gap.",
        formula="||(M + E)_(r) - M|| <= 2 sqrt(r + r*) eta",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_above_rank,
        control=Control(
            "sqrt(r) eta: noise counted on the kept directions",
            _above_rank_halved,
            functools.partial(draw_comparisons, shape="flat"),
        ),
    ),
    Claim(
        name="perturbation.truncation_gap_free",
        source="proved in truncation.truncation_bound_gap_free",
        statement="Bias and variance of a truncation of any rank, with no gap.",
        formula="||M - (M + E)_(r)|| <= tau_r(M) + (sqrt(r) + 2 sqrt(r*)) eta",
        kind="upper",
        status="new",
        instances=draw_comparisons,
        measure=_gap_free,
        control=Control("tau_r(M) alone, the noise left out", _tail_alone),
    ),
)
