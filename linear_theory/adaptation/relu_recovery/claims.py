"""Claims: preconditioned GLM-tron recovers the change of a ReLU layer at a rate without kappa.

Legend: as in `arc_cosine` and `preconditioning`; A_0, B_0 from the singular vectors of J_GLM(W),
gamma = 2, r = r*, R = A B - Delta.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.adaptation.arc_cosine import theory as arc_cosine
from linear_theory.adaptation.linear_teacher import Teacher, draw_teachers, follow, per_trial
from linear_theory.adaptation.preconditioning import theory as preconditioning
from linear_theory.adaptation.preconditioning.claims_steps import stepping
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

FITS = 256
D, K, RANK = 3, 2, 1  # for the rate
FLOOR = 1e-11
SEPARATION, TOLERANCE = 1e-4, 1e-4  # as in preconditioning_rate_claims
GAMMA = 2.0


def _errors(teacher: Teacher, weights, step_size, steps: int, along=arc_cosine.glm_direction):
    """R_t (trials, steps + 1, d, k), stepping along one of the two directions."""
    targets = np.maximum(teacher.x @ (weights + teacher.delta), 0)

    def slope(product):
        return -along(teacher.x, weights + product, targets)

    start = spectral_factors(-slope(0.0), teacher.values.shape[1], GAMMA)
    a, b = follow(stepping(slope, per_trial(step_size)), *start, steps)
    return a @ b - teacher.delta[:, None]


def _local_factors(teacher: Teacher, weights: np.ndarray, step_size: np.ndarray) -> np.ndarray:
    """Spectrum of R -> R - eta (P J[R] + J[R] P_B) on tangents, J[R]_j = X^T D_j X R_j/N.

    D_j marks the samples that see column j of W~. (trials, r (d + k - r)), moduli, ascending.
    """
    x, left, right = teacher.x, teacher.left, teacher.right
    active = x @ (weights + teacher.delta) > 0
    grams = np.einsum("tna,tnj,tnb->tjab", x, active, x, optimize=True) / x.shape[1]
    trials, d, k = teacher.delta.shape
    units = np.eye(d * k).reshape(d * k, d, k)
    images = np.einsum("tjab,ebj->teaj", grams, units)
    columns, rows = left @ left.mT, right @ right.mT
    moved = columns[:, None] @ images + images @ rows[:, None]
    operator = moved.reshape(trials, d * k, d * k).mT
    normal = np.einsum("tab,tij->taibj", np.eye(d) - columns, np.eye(k) - rows)
    tangent = np.eye(d * k) - normal.reshape(trials, d * k, d * k)
    size = teacher.values.shape[1] * (d + k - teacher.values.shape[1])
    basis = np.linalg.svd(tangent)[0][..., :size]
    modes = np.linalg.eigvals(basis.mT @ operator @ basis)
    return np.sort(np.abs(1 - per_trial(step_size)[..., 0] * modes), axis=1)


def _weights(teacher: Teacher) -> np.ndarray:
    """Columns of norm about sqrt(d), several times larger than Delta."""
    return teacher.noise[:, : teacher.delta.shape[1]]


def _rate(teacher: Teacher, population: bool = False, along=arc_cosine.glm_direction) -> Evidence:
    step_size = 0.3 + 0.4 * teacher.uniform[:, 0]
    weights = _weights(teacher)
    errors = norm(_errors(teacher, weights, step_size, 250, along))
    factors = _local_factors(teacher, weights, step_size)
    last = np.maximum((errors > FLOOR).sum(axis=1) - 1, 1)
    at = np.arange(len(errors))
    measured = errors[at, last] / errors[at, last - 1]
    separated = (factors[:, -2] / factors[:, -1]) ** last < SEPARATION
    converged = errors[:, -1] < 1e-2 * errors[:, 0]
    predicted = preconditioning.population_rate(step_size / 2) if population else factors[:, -1]
    return Evidence(measured, np.asarray(predicted), separated & converged, TOLERANCE)


def _envelope(teacher: Teacher, near_only: bool = True, along=arc_cosine.glm_direction) -> Evidence:
    step_size = 0.2 + 0.6 * teacher.uniform[:, 0]
    rest = _errors(teacher, _weights(teacher), step_size, 40, along)
    errors = norm(rest)
    bound = (1 - step_size / 4)[:, None] ** np.arange(41) * errors[:, :1]
    near = norm(rest[:, 0], 2) <= teacher.values[:, -1] / 2
    return Evidence(errors, bound, near[:, None] if near_only else True)


def draw_fits(key, trials: int) -> Teacher:
    """Few directions and N/d = 33, so that modes are far apart."""
    return _shrunk(
        draw_teachers(key, min(trials, FITS), d=D, k=K, samples=100, rank=RANK, kappa=(1.0, 1.0))
    )


def draw_many(key, trials: int, samples: int = 800) -> Teacher:
    """d = 4, kappa up to 4, N/d = 200."""
    return _shrunk(draw_teachers(key, trials, d=4, k=3, samples=samples, rank=2, kappa=(1.0, 4.0)))


def draw_wide(key, trials: int, samples: int = 800) -> Teacher:
    """d = 16, k = 8, N/d = 50; at most 64."""
    teacher = draw_teachers(key, min(trials, 64), d=16, k=8, samples=samples, rank=2)
    return _shrunk(teacher)


def _shrunk(teacher: Teacher) -> Teacher:
    return teacher._replace(delta=0.3 * teacher.delta, values=0.3 * teacher.values)


_SOURCE = "arXiv 2502.01235, theorem 4.3"

CLAIMS = (
    Claim(
        name="relu_recovery.rate",
        source=_SOURCE,
        statement="The factor per step in the end, from the samples that each column sees; no"
        " singular value of Delta is in it. For N -> oo it is max(1 - eta/2, |1 - eta|).",
        formula="||R_{t+1}||/||R_t|| -> max |1 - eta nu|, nu in spec(R -> P J[R] + J[R] P_B)",
        kind="fit",
        status="corrected",
        instances=draw_fits,
        measure=_rate,
        control=Control("the limit N -> oo", functools.partial(_rate, population=True)),
    ),
    Claim(
        name="relu_recovery.envelope",
        source=_SOURCE,
        statement="The printed envelope, for N/d = 200 and in units of the first error, not of"
        " s_{r*}(Delta). From a start that is further off than s_{r*} a singular value of A B can"
        " pass zero, where the inverse has a pole: rare (one of 5000 with kappa up to 30), but a"
        " guarantee needs N >> d kappa^2.",
        formula="||R_t||_F <= (1 - eta/4)^t ||R_0||_F where ||R_0||_2 <= s_{r*}(Delta)/2",
        kind="upper",
        status="with a condition",
        instances=draw_many,
        measure=_envelope,
        control=Control(
            "N/d = 5, and a start of any error",
            functools.partial(_envelope, near_only=False),
            functools.partial(draw_many, samples=20),
        ),
    ),
    Claim(
        name="relu_recovery.envelope_wide",
        source=_SOURCE,
        statement="The same in 16 dimensions with N/d = 50: the rate has no dimension in it, and "
        "the samples that it takes grow no faster than d.",
        formula="||R_t||_F <= (1 - eta/4)^t ||R_0||_F where ||R_0||_2 <= s_{r*}(Delta)/2",
        kind="upper",
        status="with a condition",
        instances=draw_wide,
        measure=_envelope,
        control=Control(
            "N/d = 3, and a start of any error",
            functools.partial(_envelope, near_only=False),
            functools.partial(draw_wide, samples=48),
        ),
    ),
    Claim(
        name="relu_recovery.gradient_rate",
        source=f"{_SOURCE}, remark on the standard gradient",
        statement="Along the gradient itself the factor in the end is the same, as both directions "
        "have one derivative at the solution.",
        formula="||R_{t+1}||/||R_t|| -> max |1 - eta nu|, nu as for GLM-tron, where it converges",
        kind="fit",
        status="with a condition",
        instances=draw_fits,
        measure=functools.partial(_rate, along=arc_cosine.relu_direction),
        control=Control(
            "the limit N -> oo",
            functools.partial(_rate, population=True, along=arc_cosine.relu_direction),
        ),
    ),
    Claim(
        name="relu_recovery.gradient_envelope",
        source=f"{_SOURCE}, remark on the standard gradient",
        statement="The printed envelope holds along the gradient itself too, from a start within "
        "s_{r*}/2. What a large change costs is that start, whose mean is no longer Delta/2: with "
        "these samples 94 of 100 are as near, and 2 of 100 for changes ten times the weights.",
        formula="||R_t||_F <= (1 - eta/4)^t ||R_0||_F where ||R_0||_2 <= s_{r*}(Delta)/2",
        kind="upper",
        status="with a condition",
        instances=draw_many,
        measure=functools.partial(_envelope, along=arc_cosine.relu_direction),
        control=Control(
            "N/d = 5, and a start of any error",
            functools.partial(_envelope, near_only=False, along=arc_cosine.relu_direction),
            functools.partial(draw_many, samples=20),
        ),
    ),
)
