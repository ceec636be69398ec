"""Claims: whether damped inverses are the better ones, on samples of a ReLU layer.

Legend: as in `smoothing` and `relu_recovery`.
"""

from __future__ import annotations

import functools

from linear_theory.adaptation.linear_teacher import Teacher
from linear_theory.adaptation.relu_recovery.claims_sketch import draw_few, path
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm

DAMPING, LOOKS = 0.1, (5, 10, 20)


def _damped(teacher: Teacher, against: float = 0.0) -> Evidence:
    """From the same start, where it is within s_{r*}/2."""
    rests = [path(teacher, lam) - teacher.delta[:, None] for lam in (DAMPING, against)]
    near = norm(rests[0][:, 0], 2) <= teacher.values[:, -1] / 2
    return Evidence(*(norm(rest)[:, LOOKS] for rest in rests), near[:, None])


CLAIMS = (
    Claim(
        name="smoothing.slower",
        source="arXiv 2502.01235, theorem C.15 against theorem 4.3",
        statement="Damped inverses are not the better ones: from the same near start and on the "
        "same samples a ReLU layer with r = r* is further from Delta with damping at every look.",
        formula="||R_t|| with lam = 0.1 >= ||R_t|| with lam = 0, t = 5, 10, 20",
        kind="lower",
        status="refuted",
        instances=draw_few,
        measure=_damped,
        control=Control("against lam = 1", functools.partial(_damped, against=1.0)),
    ),
)
