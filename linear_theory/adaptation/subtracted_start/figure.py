"""Low-rank adaptation of a linear teacher: the risk of five starts."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from linear_theory.adaptation.alignment.figure import LOWEST, RISK, teacher_line
from linear_theory.adaptation.subtracted_start import experiment
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ADAPTED_PUBLISHED, THREE
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes


@style.styled
def starts_over_time(arrays: Arrays, setting: Setting) -> Figure:
    """Risk against steps for every start, and the plateau of LoRA-GA against N."""
    figure, axes = style.panels(
        1,
        2,
        "Five starts of damped preconditioned descent: LoRA-GA stops where its target has too high "
        "a rank\n" + teacher_line(setting),
        size=(4.9, 3.5),
    )
    left, right = axes[0]
    steps = np.arange(arrays["risk"].shape[-1])
    lines = ("-", "-", "--", "-", "-.")
    for row, name in enumerate(arrays["starts"]):
        curve = np.maximum(arrays["risk"][row], LOWEST)
        line = lines[row % len(lines)]
        style.band(left, steps, curve, style.PALETTE[row], str(name), linestyle=line)
    plateau = float(arrays["plateau"].mean())
    left.axhline(plateau, color="black", linestyle=":", label="plateau, formula")
    style.labelled(left, "step $t$", RISK, "risk by start")
    style.log_axis(left)
    left.legend(loc="lower left", ncols=2)
    style.band(
        right, arrays["samples"], arrays["plateau_by_samples"].T, style.PALETTE[3],
        r"$\|W^* - T\|_F^2/2$ (mean, std)", marker="o",
    )  # fmt: skip
    first = arrays["plateau_by_samples"][-1].mean()
    samples = np.asarray(arrays["samples"], float)
    law = first * samples[-1] / samples
    right.plot(samples, law, color="black", linestyle="--", linewidth=1, label="$1/N$")
    style.log_axis(right, "xy")
    style.labelled(right, "samples $N$", "plateau of LoRA-GA", "it vanishes with more samples")
    right.legend()
    return figure


STARTED = Setting(m=24, d=24, n=400, rank=4, trials=3, design="gauss")
RECIPES = (
    Recipe(
        "starts_over_time",
        f"{THREE}, comparison of the starts in the linear teacher",
        "risk of five starts, and the plateau of LoRA-GA against the number of samples",
        experiment.starts_over_time,
        starts_over_time,
        sizes(
            Scale(STARTED, {"inner": 6, "samples": (100, 200, 400, 800)}), Scale(ADAPTED_PUBLISHED)
        ),
    ),
)
