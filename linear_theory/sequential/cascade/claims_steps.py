"""Claims: one step of inexact deflation, and how its error passes through the next ones.

Legend: X (d, n) inputs, Y (m, n) targets, P_X the projector on the row space of X; s_k, u_k, v_k
the singular triples of Y P_X, T_k = s_k - s_{k+1}; Y*_k and Y_k the residuals of the exact and of
the inexact run; R(Y_k) the best rank-one approximation of Y_k P_X, Psi_k = b_k a_k^T X - R(Y_k),
psi_k = ||Psi_k||; rho_k = 2 + 6 s_k/T_k; E(k) the bound of `cascade.accumulated_error`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.draws import draw_numbers, log_uniform
from linear_theory.perturbation.theory import gap_ratio, gaps_open, rank_one_source_constant
from linear_theory.sequential.cascade import theory as cascade
from linear_theory.sequential.cascade.instances import RANK, Run, draw_runs

# A component that exact deflation must reproduce has a gap above this share of s_1.
RESOLVED = 1e-3

draw_exact = functools.partial(draw_runs, sizes=(1e-300, 1e-299), std=(1e-2, 1.0))
draw_extremal = functools.partial(
    draw_runs, sizes=(1e-6, 1e-5), shapes=("extremal",), profiles=("first",)
)


class Recurrence(NamedTuple):
    """Q_1 = 0, Q_{k+1} = share_k (a_k Q_k + c_k), share_k in (0, 1]; all (trials, R [+ 1])."""

    factors: np.ndarray
    sources: np.ndarray
    values: np.ndarray


def draw_recurrences(key: jax.Array, trials: int) -> Recurrence:
    """Recurrences of 6 steps, factors from 0.1 to 100, half of the steps with equality."""
    _, uniform = draw_numbers(key, trials)
    factors = log_uniform(uniform[:, :6], 0.1, 100.0)
    sources = log_uniform(uniform[:, 6:12], 1e-3, 1.0)
    shares = np.minimum(1, 2 * uniform[:, 12:18])
    values = [np.zeros(trials)]
    for k in range(6):
        values.append(shares[:, k] * (factors[:, k] * values[-1] + sources[:, k]))
    return Recurrence(factors, sources, np.stack(values, axis=1))


def all_gaps_open(run: Run) -> np.ndarray:
    """Whether T_k > 0 for all k <= r, (trials, R), r = 1..R: what the printed bounds need."""
    return np.cumprod(np.asarray(gaps_open(run.values))[:, :RANK], axis=1).astype(bool)


def _steps(values: np.ndarray) -> np.ndarray:
    return values[:, :RANK]


def _lemma_1(run: Run) -> Evidence:
    # Rounding enters every residual and passes the map Y_k -> R(Y_k), whose constant is s/T.
    ratio = _steps(np.asarray(gap_ratio(run.values))).max(axis=1, keepdims=True)
    tolerance = 100 * np.finfo(run.values.dtype).eps * run.values[:, :1] * ratio
    return Evidence(run.shift, tolerance, 1 / ratio > RESOLVED)


def _lemma_1_raw(run: Run) -> Evidence:
    return _lemma_1(run)._replace(measured=run.raw_shift)


def _lemma_2(run: Run) -> Evidence:
    return Evidence(run.mismatch[:, 1:], run.mismatch[:, :-1] + run.shift + run.errors)


def _lemma_2_without_error(run: Run) -> Evidence:
    return Evidence(run.mismatch[:, 1:], run.mismatch[:, :-1] + run.shift)


def _lemma_2_spectral(run: Run) -> Evidence:
    bound = run.mismatch_spectral[:, :-1] + run.shift_spectral + run.errors_spectral
    return Evidence(run.mismatch_spectral[:, 1:], bound)


def _lemma_2_spectral_without_shift(run: Run) -> Evidence:
    bound = run.mismatch_spectral[:, :-1] + run.errors_spectral
    return Evidence(run.mismatch_spectral[:, 1:], bound)


def _lemma_3(run: Run) -> Evidence:
    constant = _steps(np.asarray(rank_one_source_constant(run.values)))
    return Evidence(run.shift, constant * run.mismatch_spectral[:, :-1], np.isfinite(constant))


def _lemma_3_local(run: Run) -> Evidence:
    constant = 0.9 * _steps(np.asarray(gap_ratio(run.values)))
    return _lemma_3(run)._replace(bound=constant * run.mismatch_spectral[:, :-1])


def _lemma_5(recurrence: Recurrence) -> Evidence:
    bound = np.asarray(cascade.recurrence_bound(recurrence.factors, recurrence.sources))
    return Evidence(recurrence.values, bound)


def _lemma_5_earlier(recurrence: Recurrence) -> Evidence:
    # c_i times the factors of the steps before i.
    before = np.cumprod(recurrence.factors, axis=1) / recurrence.factors
    sums = np.cumsum(recurrence.sources * before, axis=1)
    return Evidence(recurrence.values, np.pad(sums, ((0, 0), (1, 0))))


def _mismatch(run: Run) -> Evidence:
    bound = np.asarray(cascade.accumulated_error(run.values, run.errors))
    return Evidence(run.mismatch[:, 1:], bound[:, 1:], all_gaps_open(run))


def _mismatch_without_factors(run: Run) -> Evidence:
    return _mismatch(run)._replace(bound=np.cumsum(run.errors, axis=1))


def _growth(run: Run, shift: int = 0) -> Evidence:
    """The weight of psi_k, k < r = R, in theorem 1 against 8 to the number of later steps."""
    factors = _steps(np.asarray(cascade.amplification(run.values)))[:, 1:]
    weights = np.exp(np.cumsum(np.log(factors)[:, ::-1], axis=1))
    floor = 8.0 ** (np.arange(1, RANK) + shift)
    return Evidence(weights, floor[None], all_gaps_open(run)[:, -1:])


CLAIMS = (
    Claim(
        name="cascade.lemma_1",
        source="arXiv 2505.22602, lemma 1",
        statement="Exact deflation reproduces the singular triples of Y P_X, if gaps are open;"
        " of Y itself only where its rows lie in the row space of X.",
        formula="b*_k a*_k^T X = s_k u_k v_k^T, singular triples of Y P_X",
        kind="identity",
        status="corrected",
        instances=draw_exact,
        measure=_lemma_1,
        control=Control(
            "as printed: the singular triples of Y, with noise and n > d", _lemma_1_raw
        ),
    ),
    Claim(
        name="cascade.lemma_2",
        source="arXiv 2505.22602, lemma 2",
        statement="The mismatch of two runs grows by what the best component moves, and the error.",
        formula="||Y*_{k+1} - Y_{k+1}|| <= ||Y*_k - Y_k|| + ||s_k u_k v_k^T - R(Y_k)|| + ||Psi_k||",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_lemma_2,
        control=Control("the last term omitted", _lemma_2_without_error),
    ),
    Claim(
        name="cascade.lemma_2_spectral",
        source="arXiv 2505.22602, lemma 2",
        statement="Lemma 2 in spectral norm.",
        formula="||Y*_{k+1} - Y_{k+1}||_2 <= ||Y*_k - Y_k||_2 + ||s_k u_k v_k^T - R(Y_k)||_2"
        " + ||Psi_k||_2",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_lemma_2_spectral,
        control=Control("the second term omitted", _lemma_2_spectral_without_shift, draw_extremal),
    ),
    Claim(
        name="cascade.lemma_3",
        source="arXiv 2505.22602, lemma 3",
        statement="How far the best component moves in a run, for T_k > 0; the printed condition"
        " that the mismatch stays below T_k/2 is not needed.",
        formula="||s_k u_k v_k^T - R(Y_k)|| <= (1 + 6 s_k/T_k) ||Y*_k - Y_k||_2",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_lemma_3,
        control=Control("0.9 s/T, on the extremal direction", _lemma_3_local, draw_extremal),
    ),
    Claim(
        name="cascade.lemma_5",
        source="arXiv 2505.22602, lemma 5",
        statement="The solution of a linear recurrence of inequalities.",
        formula="Q_{k+1} <= a_k Q_k + c_k, Q_1 = 0 => Q_k <= sum_{i<k} c_i prod_{i<j<k} a_j",
        kind="upper",
        status="as printed",
        instances=draw_recurrences,
        measure=_lemma_5,
        control=Control("the product over earlier steps, prod_{j<i} a_j", _lemma_5_earlier),
    ),
    Claim(
        name="cascade.mismatch",
        source="arXiv 2505.22602, proof of theorem 1",
        statement="The mismatch of the two runs stays below the accumulated errors, if T_j > 0.",
        formula="||Y*_k - Y_k|| <= E(k) = sum_{i<k} psi_i prod_{i<j<k} rho_j",
        kind="upper",
        status="as printed",
        instances=draw_runs,
        measure=_mismatch,
        control=Control(
            "no factors, sum_{i<k} psi_i, on the extremal direction",
            _mismatch_without_factors,
            draw_extremal,
        ),
    ),
    Claim(
        name="cascade.growth",
        source="arXiv 2505.22602, remark on theorem 1",
        statement="The bound of theorem 1 multiplies an early error by at least 8 per later step.",
        formula="prod_{k<j<=r} rho_j >= 8^{r-k}",
        kind="lower",
        status="as printed",
        instances=draw_runs,
        measure=_growth,
        control=Control("one step more, 8^{r-k+1}", lambda run: _growth(run, 1)),
    ),
)
