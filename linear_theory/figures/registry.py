"""All figures by name, with a size that takes seconds and the published one."""

from __future__ import annotations

import dataclasses

import numpy as np

from linear_theory import experiments
from linear_theory.experiments import Setting
from linear_theory.figures import (
    adaptation,
    extensions,
    generalization,
    parallel,
    sequential,
    sequential_budgets,
    sequential_noise,
    sequential_profiles,
    toys,
)
from linear_theory.figures.recipe import Recipe, Scale
from linear_theory.problems import COLUMNS, RANK, ROWS, SAMPLES

# The quick sizes keep n/d, and with it the conditioning of X, and the iterations per component.
QUICK = Setting(m=40, d=80, n=200, rank=8, trials=3)
PAPER = Setting()
WORKERS = Setting(m=18, d=15, n=60, rank=8, trials=20, design="orthonormal")
MANY_WORKERS = Setting(m=18, d=15, n=60, rank=8, trials=100, design="orthonormal")
CLAIMS = Setting(m=ROWS, d=COLUMNS, n=SAMPLES, rank=RANK, trials=20, design="gauss")
FLOOR = Setting(m=24, d=30, n=90, rank=3, trials=200, design="orthonormal")

ADAPTED = Setting(m=24, d=24, n=400, rank=2, trials=3, design="gauss")
STARTED = Setting(m=24, d=24, n=400, rank=4, trials=3, design="gauss")
ADAPTED_PUBLISHED = Setting(m=100, d=100, n=1600, rank=4, trials=3, design="gauss")
TOY = Setting(m=1, d=2, n=4, rank=1, trials=6, design="gauss")

ONE = "arXiv 2505.22602"
TWO = "arXiv 2605.10741"
THREE = "arXiv 2502.01235"


def _sequential() -> list[Recipe]:
    return [
        Recipe(
            "sequential_allocation",
            f"{ONE}, Figure 1",
            "three ways to divide a small budget among the components",
            experiments.allocation,
            sequential.allocation,
            Scale(QUICK, {"total": 200}),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_alpha_sweep",
            f"{ONE}, the released sweep over alpha",
            "the errors at the end of the budget against alpha",
            experiments.alpha_sweep,
            sequential.alpha_sweep,
            Scale(QUICK, {"total": 200, "alphas": tuple(np.linspace(-2, 2, 21))}),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_allocation_limits",
            f"{ONE}, Figure 1, under other conditions",
            "the best division changes with the budget, the design of X and the step size",
            experiments.allocation_limits,
            sequential.allocation_limits,
            Scale(
                QUICK,
                {
                    "total": 200,
                    "totals": (100, 200, 400, 800),
                    "alphas": tuple(np.linspace(-2, 2, 9)),
                },
            ),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_horizon",
            f"{ONE}, Figure 10, as a better question",
            "the error when the budget is spent, against the budget",
            experiments.horizon,
            sequential_budgets.horizon,
            Scale(QUICK, {"totals": (100, 200, 400, 800, 1600, 3200)}),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_thresholds",
            f"{ONE}, Figure 10",
            "the first iteration at which the error is below a threshold",
            experiments.thresholds,
            sequential_budgets.thresholds,
            Scale(
                QUICK,
                {
                    "levels": (2.5, 2.0, 1.5, 1.0, 0.7, 0.5),
                    "unequal": (3200, 1600, 4000),
                    "same": 3200,
                },
            ),
            Scale(PAPER),
        ),
    ]


def _conditions() -> list[Recipe]:
    return [
        Recipe(
            "sequential_spectra",
            f"{ONE}, Figure 5",
            "three spectra of W and of Y",
            experiments.spectra,
            sequential_profiles.spectra,
            Scale(QUICK),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_profiles",
            f"{ONE}, Figure 6",
            "the errors by spectrum, with a fixed and with an adaptive step",
            experiments.profile_curves,
            sequential_profiles.profile_curves,
            Scale(QUICK, {"total": 800}),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_noise",
            f"{ONE}, Figure 7",
            "the errors under Gaussian and sparse noise",
            experiments.noise_curves,
            sequential_noise.noise_curves,
            Scale(QUICK, {"total": 400}),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_noise_allocation",
            f"{ONE}, Figure 8",
            "three divisions of the budget under noise",
            experiments.noise_allocation,
            sequential_noise.noise_allocation,
            Scale(QUICK, {"totals": (200, 800)}),
            Scale(PAPER),
        ),
        Recipe(
            "sequential_noise_profiles",
            f"{ONE}, Figure 9",
            "the errors by spectrum under noise, absolute and relative",
            experiments.profile_noise,
            sequential_profiles.profile_noise,
            Scale(QUICK, {"total": 400}),
            Scale(PAPER),
        ),
        Recipe(
            "extensions",
            f"{ONE}, future work",
            "re-optimisation, orthogonality and full-rank steps against plain deflation",
            experiments.extensions,
            extensions.extensions,
            Scale(QUICK, {"total": 200}),
            Scale(PAPER),
        ),
    ]


def _parallel() -> list[Recipe]:
    return [
        Recipe(
            "parallel_errors",
            f"{TWO}, the essay's Figure I, from data",
            "the error of every worker against rounds, its bounds and its late rate",
            experiments.parallel_errors,
            parallel.parallel_errors,
            Scale(CLAIMS),
            Scale(CLAIMS, {"rounds": 100}),
        ),
        Recipe(
            "parallel_warm_up",
            f"{TWO}, warm-up",
            "how long a worker waits for its predecessors, against the gap",
            experiments.warm_up_against_gap,
            parallel.warm_up,
            Scale(WORKERS),
            Scale(MANY_WORKERS),
        ),
        Recipe(
            "parallel_advance_learning",
            f"{TWO}, advance learning",
            "what private refinement before the first broadcast is worth",
            experiments.advance_learning,
            parallel.advance_learning,
            Scale(WORKERS, {"rounds": 64}),
            Scale(MANY_WORKERS),
        ),
        Recipe(
            "parallel_versus_sequential",
            TWO,
            "parallel against sequential at equal rounds and at equal work",
            experiments.versus_sequential,
            parallel.versus_sequential,
            Scale(WORKERS),
            Scale(MANY_WORKERS),
        ),
        Recipe(
            "noise_floor",
            f"{TWO}, statistical term",
            "the error that noise leaves after exact fitting, against the two-term formula",
            experiments.floor,
            generalization.noise_floor,
            Scale(FLOOR),
            Scale(Setting(m=24, d=30, n=90, rank=3, trials=600, design="orthonormal")),
        ),
        Recipe(
            "best_rank",
            f"{ONE}, discussion of theorem 3",
            "the best number of components against noise",
            experiments.best_rank,
            generalization.best_rank,
            Scale(QUICK),
            Scale(PAPER),
        ),
    ]


def _adaptation() -> list[Recipe]:
    return [
        Recipe(
            "alignment_over_time",
            f"{THREE}, Figure 1",
            "risk and alignment of low-rank adaptation by the size of the start and the step ratio",
            experiments.alignment_over_time,
            adaptation.alignment_over_time,
            Scale(ADAPTED, {"inner": 4, "step": 1 / 24, "steps": 600}),
            Scale(ADAPTED_PUBLISHED),
        ),
        Recipe(
            "starts_over_time",
            f"{THREE}, comparison of the starts in the linear teacher",
            "risk of five starts, and the plateau of LoRA-GA against the number of samples",
            experiments.starts_over_time,
            adaptation.starts_over_time,
            Scale(STARTED, {"inner": 6, "samples": (100, 200, 400, 800)}),
            Scale(ADAPTED_PUBLISHED),
        ),
        Recipe(
            "toy_paths",
            f"{THREE}, toy example and phase portrait",
            "paths of two factors from the spectral and from LoRA's start",
            experiments.toy_paths,
            toys.toy_paths,
            Scale(TOY),
            Scale(dataclasses.replace(TOY, trials=20)),
        ),
    ]


def registry() -> dict[str, Recipe]:
    """All figures by name, in the order of the sources.

    Example:
      >>> "sequential_allocation" in registry()
      True
    """
    recipes = [*_sequential(), *_conditions(), *_parallel(), *_adaptation()]
    return {recipe.name: recipe for recipe in recipes}
