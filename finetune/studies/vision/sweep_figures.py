"""Figures of the sweeps of the image study: budgets and their division, and the base's quality.

As in `figures`: a panel per data set, means over seeds, bars of one standard deviation.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from finetune.studies.panels import finding, name_of, panels_of
from finetune.studies.vision.sweeps import leads
from rankwise.plots.recipe import Arrays
from rankwise.plots.style import LINES, MARKERS, PALETTE, log_axis

LEAD = "in turn minus joint at like flops (points)"


def under_budgets(arrays: Arrays, setting=None) -> Figure:
    """The lead over the joint adapter of the same LoRA flops, against alpha, by budget."""
    figure, panels = panels_of(arrays, "Dividing a budget of epochs among three components")
    lines = []
    for axis, data in panels:
        lead, alphas = 100 * leads(data)[:, -1], data["alphas"]
        for row, total in enumerate(data["totals"]):
            _bars(axis, alphas, lead[:, row], row, f"{total} epochs")
        axis.axhline(0, color="k", linewidth=0.8)
        axis.set(xlabel=r"$\alpha$ (more for the first components: above 0)", ylabel=LEAD)
        axis.legend(fontsize=7)
        mean = lead.mean(axis=0)
        best = " / ".join(f"{alpha:g}" for alpha in alphas[mean.argmax(axis=1)])
        most = " / ".join(f"{value:+.1f}" for value in mean[:, alphas.argmax()])
        lines.append(
            f"{name_of(data)}: best $\\alpha$ {best}; lead at {alphas.max():g} {most} points"
        )
    finding(figure, "\n".join([*lines, "by budget, ascending"]))
    return figure


def from_bases(arrays: Arrays, setting=None) -> Figure:
    """Accuracy of both ways to adapt, against the epochs that the base was trained for."""
    figure, panels = panels_of(arrays, "Adapting bases of different quality")
    lines = []
    for axis, data in panels:
        epochs, own = data["base_epochs"], data["base_own"].mean(axis=0)
        for row, alpha in enumerate(data["alphas"]):
            label = f"rank 1 in turn, $\\alpha$ = {alpha:g}"
            _bars(axis, epochs, data["path"][:, :, -1, row], row, label)
        joint = (data["path"] - leads(data))[:, :, -1]
        equal = int(np.abs(data["alphas"]).argmin())
        _bars(axis, epochs, joint[..., equal], len(data["alphas"]), "joint rank 3, like flops")
        axis.set(xlabel="epochs of the base", ylabel="accuracy on the new classes")
        log_axis(axis, "x")
        axis.legend(fontsize=7)
        ends = data["path"][:, [0, -1], -1, equal].mean(axis=0)
        lines.append(
            f"{name_of(data)}: bases of {own[0]:.3f} and {own[-1]:.3f} are adapted to "
            f"{ends[0]:.3f} and {ends[1]:.3f} (equal epochs)"
        )
    finding(figure, "\n".join(lines))
    return figure


def _bars(axis, x, runs, row: int, label: str) -> None:
    marks = {"marker": MARKERS[row], "color": PALETTE[row], "linestyle": LINES[row % len(LINES)]}
    mean, std = runs.mean(axis=0), runs.std(axis=0)
    axis.errorbar(x, mean, std, markersize=4, capsize=2, label=label, **marks)
