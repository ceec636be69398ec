"""Low-rank adaptation of a linear teacher: alignment over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linear_theory.adaptation.alignment import experiment
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ADAPTED_PUBLISHED, THREE
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes

ANGLE = r"angle  $\|U_\perp(G)^\top U_{r^*}(A_t)\|_2$"
RISK = r"risk  $\|A_t B_t - \Delta\|_F^2\,/\,2$"
LOWEST = 1e-30  # of a risk that is drawn


@style.styled
def alignment_over_time(arrays: Arrays, setting: Setting) -> Figure:
    """Risk and angle against steps by alpha, angle against scaled time by ratio, least angles."""
    figure, axes = style.panels(
        2,
        2,
        r"Low-rank adaptation from $A_0 \sim N(0, \alpha^2)$, $B_0 = 0$: a small start aligns $A$ "
        "with the first gradient, for a while\n" + teacher_line(setting) + ", gradient descent",
        size=(4.7, 3.1),
    )
    risk, angle, scaled, least = axes.flat
    squares = style.numbers(np.square(arrays["sizes"]).round(12))
    for row, square in enumerate(squares):
        color, label = style.PALETTE[row], rf"$\alpha^2$ = {square}"
        curve = np.maximum(arrays["risk"][row], LOWEST)
        style.band(risk, arrays["steps"], curve, color, label)
        _angles(angle, arrays["steps"], arrays["angle"][row], color, label)
    style.labelled(risk, "step $t$", RISK, "risk by size of the start")
    style.log_axis(risk)
    risk.legend(loc="lower left")
    _floor(angle, arrays, r"floor: angle of $\Delta$ with $G$")
    style.labelled(angle, "step $t$   (dot: least angle)", ANGLE, "alignment by size of the start")
    rows = zip(style.numbers(arrays["ratios"]), arrays["mean_step"], strict=True)
    for row, (ratio, mean_step) in enumerate(rows):
        time = arrays["steps"] * mean_step
        color, label = style.PALETTE[row], rf"$\eta_2/\eta_1$ = {ratio}"
        _angles(scaled, time, arrays["ratio_angle"][row], color, label)
    _floor(scaled, arrays)
    style.labelled(
        scaled,
        r"scaled time  $t\,\sqrt{\eta_1 \eta_2}$   (dot: least angle)",
        ANGLE,
        rf"alignment by ratio of the step sizes, $\alpha^2$ = {squares[-1]}",
    )
    first = arrays["ratio_angle"].mean(axis=1).argmin(axis=1)
    best = arrays["steps"][first] * arrays["mean_step"]
    scaled.set_xlim(0, max(3 * best.max(), arrays["mean_step"].max()))
    scaled.legend(loc="upper right")
    _least(least, arrays)
    return figure


def _least(ax: Axes, arrays: Arrays) -> None:
    small, best, power = arrays["small"], arrays["best"], float(arrays["exponent"].mean())
    style.band(ax, small, best.T, style.PALETTE[0], "measured (mean, std)", marker="o")
    smallest = int(np.argmin(small))
    anchor = best[smallest].mean()
    law = (np.asarray(small) / small[smallest]) ** power * anchor
    label = rf"$\alpha^{{2/(2\kappa+1)}}$, exponent {power:.2f}"
    ax.plot(small, law, color="black", linestyle="--", linewidth=1, label=label)
    linear = np.asarray(small) / small[smallest] * anchor
    shown = linear < 1
    label = r"$\alpha$, as printed"
    ax.plot(np.asarray(small)[shown], linear[shown], color=style.GREY, linestyle=":", label=label)
    style.log_axis(ax, "xy")
    style.labelled(ax, r"size $\alpha$ of the start", r"$\min_t$ angle", "the least angle")
    ax.legend(loc="lower right")


def _angles(ax: Axes, time, angles: np.ndarray, color: str, label: str) -> None:
    mean = angles.mean(axis=0)
    style.band(ax, time, angles, color, label, log=False)
    at = int(mean.argmin())
    ax.plot(time[at], mean[at], "o", color=color)


def _floor(ax: Axes, arrays: Arrays, label: str | None = None) -> None:
    floor = float(arrays["floor"].mean())
    ax.axhline(floor, color="black", linestyle=":", linewidth=1, label=label)
    ax.set_ylim(0, 1.05)
    if label:
        ax.annotate(
            label, (1, floor), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            xytext=(0, 2), textcoords="offset points", fontsize=8,
        )  # fmt: skip


def teacher_line(setting: Setting) -> str:
    """One line for a title: the sizes of the teacher."""
    return (
        f"linear teacher, d, k, N = {setting.d}, {setting.m}, {setting.n}, r* = {setting.rank}, "
        f"{setting.trials} runs"
    )


ADAPTED = Setting(m=24, d=24, n=400, rank=2, trials=3, design="gauss")
RECIPES = (
    Recipe(
        "alignment_over_time",
        f"{THREE}, Figure 1",
        "risk and alignment of low-rank adaptation by the size of the start and the step ratio",
        experiment.alignment_over_time,
        alignment_over_time,
        sizes(Scale(ADAPTED, {"inner": 4, "step": 1 / 24, "steps": 600}), Scale(ADAPTED_PUBLISHED)),
    ),
)
