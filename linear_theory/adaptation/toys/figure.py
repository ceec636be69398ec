"""Paths of two factors: toy I from two starts, and the phase portrait of toy II."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linear_theory.adaptation.toys import experiment
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import THREE
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes

LOWEST = 1e-30  # of a loss that is drawn
THERE = 1e-6  # of a loss, to be called converged


@style.styled
def toy_paths(arrays: Arrays, setting: Setting) -> Figure:
    """Loss and final factor of toy I from two starts; paths in the plane of toy II."""
    figure, axes = style.panels(
        1,
        3,
        "Two factors by gradient descent: the start decides which of the minima is reached, and "
        f"how fast\ntoy I: $w^* = (2, 1)$, {setting.n} Gaussian inputs, {setting.trials} runs; "
        f"toy II: $(ab - c)^2/2$, $c$ = {float(arrays['target']):g}",
        size=(4.1, 3.6),
    )
    left, middle, right = axes[0]
    steps = np.arange(arrays["loss"].shape[-1])
    for row, name in enumerate(arrays["starts"]):
        color, keep = style.PALETTE[row], style.thinned(len(steps))
        curves = np.maximum(arrays["loss"][row], LOWEST)
        left.plot(steps[keep], curves[:, keep].T, color=color, linewidth=0.6, alpha=0.5)
        middling = np.median(curves, axis=0)[keep]
        left.plot(steps[keep], middling, color=color, label=f"{name} start (median, runs)")
        there = curves[:, -1] < THERE
        points = {"color": color, "marker": style.MARKERS[row], "linestyle": "none", "alpha": 0.8}
        predicted, end = arrays["predicted"][row], arrays["end"][row]
        middle.plot(predicted[there], end[there], label=f"{name} start", **points)
        label = (
            rf"loss still > $10^{{{round(np.log10(THERE))}}}$"
            if row == len(arrays["starts"]) - 1
            else None
        )
        middle.plot(predicted[~there], end[~there], label=label, fillstyle="none", **points)
    style.log_axis(left)
    style.labelled(left, "step", r"loss  $\frac{1}{2N}\sum (y - b\,a^\top x)^2$", "toy I: loss")
    left.legend()
    ends = np.concatenate([arrays["predicted"].ravel(), arrays["end"].ravel()])
    limits = np.array([0.95 * ends.min(), 1.05 * ends.max()])
    middle.plot(limits, limits, color="black", linewidth=1, linestyle="--", label="equal")
    style.labelled(
        middle,
        r"$b$ from $|a_0|^2 - b_0^2$, which the flow keeps",
        r"$|b|$ in the end",
        "toy I: which minimum",
    )
    middle.legend()
    _portrait(figure, right, arrays)
    return figure


def _portrait(figure: Figure, ax: Axes, arrays: Arrays) -> None:
    grid, height, target = arrays["grid"], arrays["height"], float(arrays["target"])
    shade = ax.pcolormesh(grid, grid, height, cmap="Greys", shading="gouraud", rasterized=True)
    figure.colorbar(shade, ax=ax, label=r"$\log_{10}$(loss + $10^{-3}$)")
    skip = max(1, len(grid) // 40)
    flow = arrays["field"][:, ::skip, ::skip]
    ax.streamplot(
        grid[::skip], grid[::skip], *flow, color=style.PALETTE[5], linewidth=0.5, arrowsize=0.6,
        density=0.9,
    )  # fmt: skip
    width = grid[-1]
    branch = np.linspace(target / width, width, 100)
    for sign in (1, -1):
        label = "minima, $ab = c$" if sign > 0 else None
        ax.plot(sign * branch, sign * target / branch, color=style.PALETTE[2], label=label)
    labels = ("$a = b$ (spectral)", "$b = 0$ (LoRA)", None, "$a = -b$, to the saddle")
    colors = (0, 1, 1, 3)
    for path, label, color in zip(arrays["paths"], labels, colors, strict=True):
        ax.plot(*path.T, color=style.PALETTE[color], linewidth=2, label=label)
        ax.plot(*path[0], "o", color=style.PALETTE[color])
    ax.plot(0, 0, "X", color="black", markersize=7, linestyle="none", label="saddle")
    style.labelled(ax, "$a$", "$b$", "toy II: phase portrait (dot: start)")
    ax.set(xlim=(-width, width), ylim=(-width, width), aspect="equal")
    ax.grid(False)
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower right", ncols=len(names), title="toy II")


TOY = Setting(m=1, d=2, n=4, rank=1, trials=6, design="gauss")
RECIPES = (
    Recipe(
        "toy_paths",
        f"{THREE}, toy example and phase portrait",
        "paths of two factors from the spectral and from LoRA's start",
        experiment.toy_paths,
        toy_paths,
        sizes(Scale(TOY), Scale(dataclasses.replace(TOY, trials=20))),
    ),
)
