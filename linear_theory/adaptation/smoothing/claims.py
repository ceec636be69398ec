"""Claims: damped preconditioning, its rate at r = r* and what it leaves of surplus directions.

Legend: as in `smoothing`; S = I, M = R/2 as for GLM-tron in the mean, factors balanced.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.linear_teacher import Teacher, draw_teachers, follow, per_trial
from linear_theory.adaptation.preconditioning.claims_steps import stepping
from linear_theory.adaptation.smoothing import theory as smoothing
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

RANK, SHARE = 2, 0.5
FLOOR, SEPARATION, TOLERANCE = 1e-11, 1e-4, 1e-4  # as in preconditioning_rate_claims
SURPLUS, TAIL_STEPS = 2, 300


def _run(teacher: Teacher, start, step_size, damping, steps: int) -> np.ndarray:
    """||R_t||_F (trials, steps + 1)."""

    def slope(product):
        return SHARE * (product - teacher.delta)

    a, b = follow(stepping(slope, per_trial(step_size), per_trial(damping)), *start, steps)
    return norm(a @ b - teacher.delta[:, None])


def _rate(teacher: Teacher, damped: bool = True) -> Evidence:
    step_size = 0.2 + 0.6 * teacher.uniform[:, 0]
    damping = 0.01 * 100 ** teacher.uniform[:, 1]
    near = teacher.delta + 1e-3 * teacher.values[:, None, -1:] * teacher.noise
    errors = _run(teacher, spectral_factors(near, RANK), step_size, damping, 300)
    predicted = np.asarray(
        smoothing.smoothed_rate(teacher.values, damping if damped else 0 * damping, step_size)
    )
    last = np.maximum((errors > FLOOR).sum(axis=1) - 1, 1)
    at = np.arange(len(errors))
    measured = errors[at, last] / errors[at, last - 1]
    # For these eta the two largest modes belong to the two values, each alone off its rows.
    shares = teacher.values / (teacher.values + damping[:, None])
    modes = 1 - step_size[:, None] * SHARE * shares
    separated = (modes[:, 0] / modes[:, 1]) ** last < SEPARATION
    return Evidence(measured, predicted, separated, TOLERANCE)


def _tail(teacher: Teacher, printed: bool = False) -> Evidence:
    """From Delta itself beside two more directions, orthogonal to it, of sizes 0.02 to 0.5."""
    step_size = 0.02 + 0.1 * teacher.uniform[:, 0]
    damping = 0.01 * 10 ** teacher.uniform[:, 1]
    sizes = 0.02 * 25 ** teacher.uniform[:, 2 : 2 + SURPLUS]
    left, right = _beside(teacher.left, teacher.start), _beside(teacher.right, teacher.noise.mT)
    more = (left * sizes[:, None]) @ right.mT
    start = spectral_factors(teacher.delta + more, RANK + SURPLUS)
    measured = _run(teacher, start, step_size, damping, TAIL_STEPS)[:, -1]
    values = np.asarray(
        smoothing.surplus_value(sizes, damping[:, None], step_size[:, None], TAIL_STEPS)
    )
    if printed:
        values = np.broadcast_to((damping / step_size / TAIL_STEPS)[:, None], sizes.shape)
    predicted = np.sqrt((values**2).sum(axis=1))
    # The step against the flow: w + ln w grows by 2 h eta + (h eta)^2 (3w+1)/(1+w)^2 a step, the
    # last factor at most 9/8, and ln p by that over 1 + w.
    w = damping / values.max(axis=1)
    relative = 9 / 8 * (SHARE * step_size) ** 2 * TAIL_STEPS / (1 + w)
    return Evidence(measured, predicted, True, relative * predicted)


def _beside(basis: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Two orthonormal directions in the complement of a basis."""
    vectors = vectors[..., :SURPLUS]
    return np.linalg.qr(vectors - basis @ (basis.mT @ vectors))[0]


_draw_apart = functools.partial(draw_teachers, samples=None, rank=RANK, kappa=(2.0, 8.0))
_draw = functools.partial(draw_teachers, samples=None, rank=RANK)
_SOURCE = "arXiv 2502.01235, theorem C.15"

CLAIMS = (
    Claim(
        name="smoothing.rate",
        source=_SOURCE,
        statement="The factor per step with inverses (. + lam I)^{-1} for r = r*: the smallest"
        " singular value is slow where it is below lam. In the mean over the inputs, where the"
        " slope of GLM-tron is R/2; no samples, no ReLU.",
        formula="||R_{t+1}||/||R_t|| -> 1 - (eta/2) s_{r*}/(s_{r*} + lam)",
        kind="fit",
        status="with a condition",
        instances=_draw_apart,
        measure=_rate,
        control=Control("without damping, 1 - eta/2", functools.partial(_rate, damped=False)),
    ),
    Claim(
        name="smoothing.surplus",
        source="derived in smoothing.surplus_value; " + _SOURCE,
        statement="Directions beyond r* vanish as lam/(eta t) only after an exponential phase, so"
        " never at a linear rate; small eta.",
        formula="||R_t||_F^2 = sum_i (lam/W(u_i e^{u_i + eta t}))^2, u_i = lam/p_i",
        kind="fit",
        status="new",
        instances=_draw,
        measure=_tail,
        control=Control(
            "the limit sqrt(r - r*) lam/(eta t)", functools.partial(_tail, printed=True)
        ),
    ),
)
