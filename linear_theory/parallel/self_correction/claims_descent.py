"""Claims: one round, and the theorem with its warm-up, where workers descend a gradient.

Legend: as in `self_correction`, `warm_up` and `measured_run`. Contractions F are measured: what the
statements say of a round is free of the solver. X X^T = I, step size 1/2, 12 steps a round.
"""

from __future__ import annotations

import dataclasses
import functools
import operator

import numpy as np

from deflation.solvers.gradient_descent import GradientDescent
from linear_theory.claim import Claim, Control
from linear_theory.parallel.measured_run import Run, run
from linear_theory.parallel.problems import RANK, Problem, draw, slow_first_spectrum
from linear_theory.parallel.self_correction.claims_contraction import DESCENT_ROUNDS, DESCENT_STEPS
from linear_theory.parallel.self_correction.claims_recursion import one_step_source
from linear_theory.parallel.self_correction.claims_warm_up import source_constants, theorem_b
from linear_theory.parallel.self_correction.warm_up import own_rates

STEP = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Descent:
    """Problems, and their run, which a claim and its control share."""

    problem: Problem

    @functools.cached_property
    def run(self) -> Run:
        """The recorded run, of the sizes of the claims on the rates of descent."""
        step = np.full((len(self.problem.x), RANK, 1), STEP)
        solver = GradientDescent(step, DESCENT_STEPS, coordinates="original")
        return run(self.problem, solver, rounds=DESCENT_ROUNDS)


def _draw(key, trials: int) -> Descent:
    """Problems with a slow first worker; 64 at most, as their runs take a while."""
    return Descent(draw(key, min(trials, 64), slow_first_spectrum, conditioning=1))


_recorded = operator.attrgetter("run")
_one_step = functools.partial(one_step_source, recorded=_recorded)
_settled = functools.partial(theorem_b, recorded=_recorded)

CLAIMS = (
    Claim(
        name="self_correction.one_step_descent",
        source="arXiv 2502.17615, proof of theorem 2; arXiv 2505.22602, lemma 3",
        statement="Gradient descent: one round with the published constant, whatever the mismatch "
        "is.",
        formula="E_{k,l} <= F E_{k,l-1} + (1 + F) (1 + 6 s_k/T_k) delta_{k,l}",
        kind="upper",
        status="as printed",
        instances=_draw,
        measure=_one_step,
        control=Control(
            "no memory: the coupling term alone", functools.partial(_one_step, kept=0.0)
        ),
    ),
    Claim(
        name="self_correction.theorem_b_descent",
        source="arXiv 2502.17615, theorem 2",
        statement="Gradient descent behind a slow first worker, with the published constants, if "
        "s_1 is the end of the burn-in after which F_k holds.",
        formula="G_{k,l} <= A (l - s_k + 2) m_k^{l - s_k + 1}, A = 6, "
        "m_k = max(F_k, 1/k + (k-1)/k m_{k-1})",
        kind="upper",
        status="with a condition",
        instances=_draw,
        measure=functools.partial(_settled, constants=source_constants),
        control=Control(
            "m_k = F_k: every worker at its own rate",
            functools.partial(_settled, rates=own_rates),
        ),
    ),
)
