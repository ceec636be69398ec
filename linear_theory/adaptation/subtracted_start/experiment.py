"""Low-rank adaptation of a linear teacher: the risk of five starts over time.

Legend: as in `linear_teacher`; in a Setting m is k, the outputs, n is N and rank is r*; every trial
has a teacher of its own with Gaussian inputs. Risk is ||A B - Delta||_F^2/2.
"""

from __future__ import annotations

import numpy as np

from linear_theory.adaptation.alignment.experiment import teachers_of
from linear_theory.adaptation.displacement import theory as displacement
from linear_theory.adaptation.preconditioning import theory as preconditioning
from linear_theory.adaptation.spectral_initialisation.theory import spectral_factors
from linear_theory.adaptation.subtracted_start import theory as subtracted_start
from linear_theory.instances.random_matrices import norm
from linear_theory.instances.setting import Setting, float64

STARTS = ("spectral", "LoRA-One", "LoRA-One, +gradient", "LoRA-GA", "LoRA")


@float64
def starts_over_time(
    setting: Setting,
    *,
    inner: int = 8,
    values=(1.0, 0.75, 0.5, 0.25),
    size: float = 100**0.25 / 2,
    lora: float = 0.1,
    step: float = 0.5,
    damping: float = 1e-3,
    steps: int = 60,
    samples=(200, 400, 800, 1600, 3200, 6400),
) -> dict:
    """Risk of damped preconditioned descent from five starts, and LoRA-GA's plateau against N.

    LoRA-One and LoRA-GA start from singular vectors times `size`, subtracted from the weight, the
    first of either sign of the gradient; LoRA from a Gaussian of size `lora` and B_0 = 0.

    Returns:
      starts (P,), risk (P, N, steps + 1), plateau (N,); samples (M,), plateau_by_samples (M, N).

    Source: arXiv 2502.01235, the talk's comparison of starts and its notebook.
    """
    teacher = teachers_of(setting, inner, values)
    gradient = teacher.gram @ teacher.delta
    ga = displacement.lora_ga_factors(gradient, inner, size)
    one = displacement.lora_one_factors(gradient, inner, size)
    flipped = displacement.lora_one_factors(-gradient, inner, size)
    zeros = np.zeros((setting.trials, inner, setting.m))
    starts = {
        "spectral": (*spectral_factors(gradient, inner), False),
        "LoRA-One": (*one, True),
        "LoRA-One, +gradient": (*flipped, True),
        "LoRA-GA": (*ga, True),
        "LoRA": (lora * teacher.start, zeros, False),
    }
    risks = []
    for a, b, subtracted in starts.values():
        target = teacher.delta + a @ b if subtracted else teacher.delta
        risks.append([])
        for _ in range(steps + 1):
            rest = a @ b - target
            risks[-1].append(norm(rest) ** 2 / 2)
            a, b = preconditioning.preconditioned_step(teacher.gram @ rest, a, b, step, damping)

    def plateau(teacher):
        a, b = displacement.lora_ga_factors(teacher.gram @ teacher.delta, inner, size)
        target = teacher.delta + a @ b
        best = subtracted_start.best_product(teacher.gram, target, inner)
        return norm(best - target) ** 2 / 2

    return {
        "starts": np.array(list(starts)),
        "risk": np.moveaxis(np.array(risks), 1, 2),
        "plateau": plateau(teacher),
        "samples": samples,
        "plateau_by_samples": np.stack(
            [plateau(teachers_of(setting, inner, values, count)) for count in samples]
        ),
    }
