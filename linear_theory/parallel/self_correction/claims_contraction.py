"""Claims: how much one round contracts, for alternating steps and for gradient descent.

Legend: as in `contraction` and `measured_run`.
"""

from __future__ import annotations

import jax
import numpy as np

import deflation
from deflation.solvers.gradient_descent import GradientDescent
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import FLOOR, Run, last_factor, run
from linear_theory.parallel.problems import RANK, VALUES, Problem, draw
from linear_theory.parallel.self_correction import contraction

SWEEPS, SWEEP_ROUNDS = 2, 24
DESCENT_STEPS, DESCENT_ROUNDS = 12, 40
SIZE = 1e-3  # of the change of a worker at the start
SIZE_DESCENT = 1e-2
RATE_TOLERANCE = 1e-3
# The Hessian is that of the balanced optimum; the start is off it by SIZE_DESCENT, and a rate that
# is not the only one left needs time.
HESSIAN_TOLERANCE = 1e-2
# Digits of a factor that is compared with a bound: rounding over the error before the round.
DIGITS_FLOOR = 1e-8
# How far the second factor must have fallen behind the first, whatever their weights.
SEPARATION = 1e-6


def _guaranteed(problem, half_sweeps: int = 0) -> Evidence:
    current = run(problem, deflation.alternating(SWEEPS), rounds=SWEEP_ROUNDS)
    ratio, cosine = current.reach.ratio, current.reach.cosine
    bound = contraction.alternating_contraction(ratio, cosine, SWEEPS) * ratio**half_sweeps
    return Evidence(current.contraction, bound, current.reach.before > DIGITS_FLOOR)


def _one_changed(trials: int, size: float) -> np.ndarray:
    """Worker 1 + (instance mod r) is changed, the others start at their exact components."""
    return size * (np.arange(trials)[:, None] % RANK == np.arange(RANK))


def _draw_one_changed(key, trials):
    return draw(key, trials, near=True, size=_one_changed(trials, SIZE))


def _changed(current: Run) -> np.ndarray:
    trials = len(current.values)
    return _one_changed(trials, 1.0) > 0


def _alternating_rate(problem, sweeps: int = SWEEPS) -> Evidence:
    current = run(problem, deflation.alternating(SWEEPS), rounds=SWEEP_ROUNDS)
    values = current.values
    rates = np.minimum(values[:, None] / values[:, :RANK, None], 1)
    later = np.triu(rates, 1)  # the modes i > k; predecessors are exact
    measured, is_rate = last_factor(current, later)
    predicted = np.asarray(contraction.alternating_rate(values, sweeps))[:, :RANK]
    return Evidence(measured, predicted, is_rate & _changed(current), RATE_TOLERANCE)


def _draw_descent(key, trials):
    size = _one_changed(trials, SIZE_DESCENT)
    return draw(key, trials, _geometric, near=True, size=size, conditioning=1.3)


def _geometric(uniform: np.ndarray) -> np.ndarray:
    """Ratios in (0.75, 0.9): the slowest mode of a worker is well apart from the next."""
    return (0.75 + 0.15 * uniform[:, 1:2]) ** np.arange(VALUES)


@jax.jit
def _hessians(problem: Problem) -> jax.Array:
    """Hessians at the balanced exact components, original coordinates, (trials, r, m+d, m+d)."""

    def hessian(problem, k):
        u, s, v = problem.left, problem.values, problem.right
        root, whitener = problem.regression.root, problem.regression.whitener
        left = s * (jax.numpy.arange(len(s)) >= k)
        cross = (u * left) @ v.T @ root
        scale = jax.numpy.sqrt(s[k])
        return contraction.descent_hessian(
            scale * u[:, k], scale * whitener @ v[:, k], cross, root @ root
        )

    workers = jax.vmap(hessian, in_axes=(None, 0))
    return jax.vmap(workers, in_axes=(0, None))(problem, jax.numpy.arange(RANK))


def _descent_rate(problem, whitened: bool = False) -> Evidence:
    eigenvalues = np.asarray(contraction.non_gauge(_hessians(problem)))
    step = 1.5 / eigenvalues[..., -1:]
    solver = GradientDescent(step, DESCENT_STEPS, coordinates="original")
    current = run(problem, solver, rounds=DESCENT_ROUNDS)
    factors = np.sort(np.abs(1 - step * eigenvalues) ** DESCENT_STEPS, axis=2)
    errors = current.trajectory.error
    last = np.maximum((errors > FLOOR).sum(axis=1) - 1, 1)[:, None]
    measured = np.take_along_axis(errors, last, 1) / np.take_along_axis(errors, last - 1, 1)
    separated = (factors[..., -2] / factors[..., -1]) ** last[:, 0] < SEPARATION
    if whitened:
        eigenvalues = contraction.descent_eigenvalues(current.values)[:, :RANK]
    predicted = contraction.descent_rate(eigenvalues, step[..., 0], DESCENT_STEPS)
    return Evidence(measured[:, 0], predicted, separated & _changed(current), HESSIAN_TOLERANCE)


CLAIMS = (
    Claim(
        name="self_correction.alternating_contraction",
        source="proved in contraction.alternating_contraction",
        statement="Alternating steps contract towards the worker's current target, in every round.",
        formula="||R_{k,l} - R^|| <= sqrt(1 + q^2) q^{2T} / cos t ||R_{k,l-1} - R^||, "
        "q = s_2/s_1 of M_{k,l}",
        kind="upper",
        status="new",
        instances=draw,
        measure=_guaranteed,
        control=Control("half a sweep more, q^{2T+1}", lambda problem: _guaranteed(problem, 1)),
    ),
    Claim(
        name="self_correction.alternating_rate",
        source="arXiv 2605.10741, F_k of the power method",
        statement="Alternating steps behind exact predecessors: the factor per round in the end.",
        formula="F_k -> (s_{k+1}/s_k)^{2T}",
        kind="fit",
        status="as printed",
        instances=_draw_one_changed,
        measure=_alternating_rate,
        control=Control("one sweep fewer", lambda problem: _alternating_rate(problem, SWEEPS - 1)),
    ),
    Claim(
        name="self_correction.descent_rate",
        source="contraction.descent_rate, contraction.descent_hessian",
        statement="Gradient descent in original coordinates behind exact predecessors: the factor "
        "per round in the end, from the non-gauge spectrum of the Hessian.",
        formula="F_k -> max |1 - eta lambda|^T",
        kind="fit",
        status="new",
        instances=_draw_descent,
        measure=_descent_rate,
        control=Control(
            "the spectrum for X X^T = I", lambda problem: _descent_rate(problem, whitened=True)
        ),
    ),
)
