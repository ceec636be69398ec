"""Noise in the targets under gradient descent: Figures 7 and 8 of arXiv 2505.22602."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from linear_theory import labels
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ONE, PAPER, QUICK
from linear_theory.labels import RECONSTRUCTION, TRAINING
from linear_theory.sequential.noise import experiment
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes


@style.styled
def noise_curves(arrays: Arrays, setting: Setting) -> Figure:
    """Both errors against iterations for Gaussian and sparse noise. Figure 7."""
    total = arrays["training"].shape[-1]
    figure, axes = style.panels(
        len(arrays["densities"]),
        2,
        f"Noise N(0, $\\kappa^2$) in Y, T = {total}, more iterations for the first components\n"
        f"{labels.conditions(setting, spectrum='exponential')}",
        size=(4.2, 2.9),
        sharex=True,
        sharey="col",
    )
    iteration = np.arange(1, total + 1)
    for row, density in enumerate(arrays["densities"]):
        kind = "every entry of Y" if density == 1 else f"{density:.0%} of the entries of Y"
        for ax, name, label in zip(
            axes[row], ("training", "reconstruction"), (TRAINING, RECONSTRUCTION), strict=True
        ):
            for which, level in enumerate(style.numbers(arrays["levels"])):
                color = style.PALETTE[which % len(style.PALETTE)]
                style.band(ax, iteration, arrays[name][row, which], color, f"$\\kappa$ = {level}")
            style.labelled(ax, "iteration" if row else "", label, kind)
            style.log_axis(ax)
    style.legend_below(figure, axes[0, 0])
    return figure


@style.styled
def noise_allocation(arrays: Arrays, setting: Setting) -> Figure:
    """Reconstruction for three divisions of the budget by noise level. Figure 8 is T = 500."""
    levels, totals = arrays["levels"], arrays["totals"]
    orders = [str(order) for order in arrays["orders"]]
    figure, axes = style.panels(
        len(totals),
        len(levels),
        "More, equal or less iterations for the first components, noise N(0, $\\kappa^2$) in Y\n"
        f"{labels.conditions(setting, spectrum='exponential')}",
        size=(2.9, 2.7),
        sharex="row",
        sharey="row",
    )
    for row, total in enumerate(totals):
        for column, level in enumerate(levels):
            ax, runs = axes[row, column], arrays[f"reconstruction_{total}"][column]
            for which, order in enumerate(orders):
                style.band(ax, np.arange(1, total + 1), runs[which], style.PALETTE[which], order)
            best = orders[int(runs[..., -1].mean(axis=-1).argmin())]
            style.labelled(
                ax,
                "iteration",
                "" if column else RECONSTRUCTION,
                f"$\\kappa$ = {level:g}, T = {total}; best: {best}",
            )
            style.log_axis(ax)
    style.legend_below(figure, axes[0, 0])
    return figure


RECIPES = (
    Recipe(
        "sequential_noise",
        f"{ONE}, Figure 7",
        "the errors under Gaussian and sparse noise",
        experiment.noise_curves,
        noise_curves,
        sizes(Scale(QUICK, {"total": 400}), Scale(PAPER)),
    ),
    Recipe(
        "sequential_noise_allocation",
        f"{ONE}, Figure 8",
        "three divisions of the budget under noise",
        experiment.noise_allocation,
        noise_allocation,
        sizes(Scale(QUICK, {"totals": (200, 800)}), Scale(PAPER)),
    ),
)
