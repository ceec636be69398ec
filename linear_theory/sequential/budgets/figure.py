"""How soon a threshold is met, and how far a budget leads: Figure 10 and a better question."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linear_theory import labels
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ONE, PAPER, QUICK
from linear_theory.labels import RECONSTRUCTION
from linear_theory.sequential.budgets import experiment
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes


@style.styled
def thresholds(arrays: Arrays, setting: Setting) -> Figure:
    """First iteration at which the error is at most a threshold. arXiv 2505.22602, Figure 10."""
    figure, axes = style.panels(
        2,
        2,
        "First iteration with $\\|W - W_t\\|_F \\leq \\theta$, unused iterations passed on\n"
        + labels.conditions(setting, spectrum="power law")
        + r", $\|W\|_F = \sqrt{r}$",
        size=(4.4, 2.9),
        sharex=True,
        sharey=True,
    )
    counted = {
        "staircase": "at component ends",
        "smooth": "at every iteration",
    }
    for row, budgets in enumerate(arrays["budgets"]):
        given = " / ".join(str(int(value)) for value in budgets)
        for ax, (name, when) in zip(axes[row], counted.items(), strict=True):
            _first_iterations(ax, arrays, arrays[name][row])
            style.labelled(
                ax,
                r"threshold $\theta$" if row else "",
                "" if name == "smooth" else "first iteration\n(cross: not reached by every run)",
                f"T = {given}, counted {when}",
            )
    axes[0, 0].invert_xaxis()
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylim(None, 2.5 * np.nanmax(arrays["budgets"]))
    style.legend_below(figure, axes[0, 0], "iterations for the first components; T in this order")
    return figure


def _first_iterations(ax: Axes, arrays: Arrays, first: np.ndarray) -> None:
    levels, shift = arrays["levels"], 0.04
    for which, order in enumerate(arrays["orders"]):
        color, runs = style.PALETTE[which], first[which]
        at = levels + shift * (which - 1)
        reached = np.isfinite(runs).all(axis=0)
        mean, std = runs[:, reached].mean(axis=0), runs[:, reached].std(axis=0)
        low = np.minimum(std, mean - runs[:, reached].min(axis=0))
        marks = {"marker": style.MARKERS[which], "color": color, "label": str(order)}
        ax.errorbar(at[reached], mean, yerr=(low, std), capsize=2, linewidth=1.2, **marks)
        # Not reached by every run: a mean over the others would flatter.
        never = at[~reached]
        height = 1.5 ** (which - 1) * 1.4 * np.nanmax(arrays["budgets"])
        ax.plot(never, np.full_like(never, height), "x", color=color, markersize=5)


@style.styled
def horizon(arrays: Arrays, setting: Setting) -> Figure:
    """Error at the end against the budget, for three divisions of it."""
    totals, orders = arrays["totals"], [str(order) for order in arrays["orders"]]
    figure, axes = style.panels(
        1,
        1,
        "Error when the budget is spent\n" + labels.conditions(setting, spectrum="exponential"),
        size=(6.8, 3.6),
    )
    ax = axes[0, 0]
    for which, order in enumerate(orders):
        runs = arrays["reconstruction"][:, which].T
        label = f"{order} for the first components" if order != "equal" else "equal"
        style.band(ax, totals, runs, style.PALETTE[which], label, marker=style.MARKERS[which])
    style.labelled(ax, "budget T (iterations of all components together)", RECONSTRUCTION)
    ax.set_xscale("log")
    style.log_axis(ax)
    ax.set_xticks(totals, [f"{value}" for value in totals])
    ax.xaxis.set_minor_locator(style.NO_TICKS)
    ax.legend()
    winners = np.asarray(orders)[arrays["reconstruction"].mean(axis=-1).argmin(axis=1)]
    style.finding(figure, "best:  " + ",  ".join(_ranges(totals, winners)))
    return figure


def _ranges(totals: np.ndarray, winners: np.ndarray) -> list[str]:
    """Winners of successive budgets, joined: 'more for T = 250 to 1000', ..."""
    texts, start = [], 0
    for stop in range(1, len(totals) + 1):
        if stop == len(totals) or winners[stop] != winners[start]:
            span = f"{totals[start]}" + (f" to {totals[stop - 1]}" if stop - 1 > start else "")
            texts.append(f"{winners[start]} at T = {span}")
            start = stop
    return texts


RECIPES = (
    Recipe(
        "sequential_horizon",
        f"{ONE}, Figure 10, as a better question",
        "the error when the budget is spent, against the budget",
        experiment.horizon,
        horizon,
        sizes(Scale(QUICK, {"totals": (100, 200, 400, 800, 1600, 3200)}), Scale(PAPER)),
    ),
    Recipe(
        "sequential_thresholds",
        f"{ONE}, Figure 10",
        "the first iteration at which the error is below a threshold",
        experiment.thresholds,
        thresholds,
        sizes(
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
    ),
)
