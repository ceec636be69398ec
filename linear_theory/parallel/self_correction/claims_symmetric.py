"""Claims: what the theorem with its warm-up says of the eigenvectors of symmetric matrices.

Legend: as in `warm_up` and `measured_run`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import run
from linear_theory.parallel.problems import Problem, draw, slow_first_spectrum
from linear_theory.parallel.self_correction.claims_warm_up import (
    settling_spectrum,
    source_constants,
    theorem_b,
)
from linear_theory.parallel.self_correction.warm_up import own_rates, proved_rates


def _eigenvectors(problem: Problem, rates=proved_rates) -> Evidence:
    """||a/|a| - v_k||, a turned to the side of v_k, which has no sign of its own."""
    current = run(problem)
    settled = theorem_b(problem, source_constants, rates=rates, recorded=lambda _: current)
    cosine = np.diagonal(current.trajectory.modes, axis1=2, axis2=3)
    distance = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    # The root of a difference of two ones has half the digits.
    return Evidence(distance, np.sqrt(2) * settled.bound, settled.premise & (distance > 1e-6))


_symmetric = functools.partial(draw, symmetric=True, conditioning=1)

CLAIMS = (
    Claim(
        name="self_correction.symmetric",
        source="arXiv 2502.17615, theorem 2, symmetric case; arXiv 2605.10741, section III",
        statement="Positive definite matrices: the directions of the workers come to the "
        "eigenvectors, as sin(a, v_k) <= G_{k,l}; the same warm-up and rates.",
        formula="||a/|a| - v_k|| <= sqrt(2) 6 (l - s_k + 2) m_k^{l - s_k + 1}",
        kind="upper",
        status="with a condition",
        instances=functools.partial(_symmetric, spectrum=settling_spectrum),
        measure=_eigenvectors,
        control=Control(
            "m_k = F_k, behind a slow first worker",
            functools.partial(_eigenvectors, rates=own_rates),
            functools.partial(_symmetric, spectrum=slow_first_spectrum),
        ),
    ),
)
