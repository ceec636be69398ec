"""How a budget is divided among components: Figure 1, the sweep over alpha, and their limits."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ONE, PAPER, QUICK
from linear_theory.labels import RECONSTRUCTION, TRAINING, conditions
from linear_theory.sequential.allocation import experiment
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes

STEP_ERROR = r"step errors  $\Sigma_k\,\|\Psi_k\|_F$  (units of $W$)"
METRICS = {"reconstruction": RECONSTRUCTION, "training": TRAINING, "step_error": STEP_ERROR}


@style.styled
def allocation(arrays: Arrays, setting: Setting) -> Figure:
    """Three errors against iterations, one curve per alpha. arXiv 2505.22602, Figure 1."""
    steps = arrays["steps"]
    total = int(steps[0].sum())
    figure, axes = style.panels(
        1,
        3,
        f"Dividing {total} iterations among components: more for the first ($\\alpha > 0$) or for "
        f"the last ($\\alpha < 0$)\n{conditions(setting, spectrum='exponential')}",
        size=(3.9, 3.3),
    )
    iteration = np.arange(1, total + 1)
    for ax, (name, label) in zip(axes[0], METRICS.items(), strict=True):
        for row, alpha in enumerate(arrays["alphas"]):
            color = style.PALETTE[row]
            runs = arrays[name][row]
            schedule = f"$\\alpha$ = {alpha:g}, $t_1$ = {steps[row, 0]}"
            style.band(ax, iteration, runs, color, schedule, log=name != "step_error")
            ends = np.cumsum(steps[row])[:-1] - 1
            marks = {"marker": style.MARKERS[row], "color": color, "linestyle": "none"}
            ax.plot(iteration[ends], runs[:, ends].mean(axis=0), markersize=3, **marks)
            ax.axvline(steps[row, 0], color=color, linestyle="--", linewidth=0.9)
        style.labelled(ax, "iteration (markers: next component)", label)
        if name != "step_error":
            style.log_axis(ax)
    axes[0, 0].legend(loc="upper right")
    style.finding(
        figure,
        "at the end, for "
        + ", ".join(f"$\\alpha$ = {alpha:g}" for alpha in arrays["alphas"])
        + ":   "
        + ";   ".join(f"{_words(name)} {_ends(arrays[name][..., -1])}" for name in METRICS),
    )
    return figure


@style.styled
def alpha_sweep(arrays: Arrays, setting: Setting) -> Figure:
    """Errors at the end minus those of equal steps, against alpha, coloured by t_1."""
    alphas, first = arrays["alphas"], arrays["steps"][:, 0]
    total = int(arrays["steps"][0].sum())
    figure, axes = style.panels(
        1,
        3,
        f"Errors after {total} iterations, relative to equal steps ($\\alpha = 0$)\n"
        f"{conditions(setting, spectrum='exponential')}",
        size=(3.9, 3.2),
    )
    equal = int(np.abs(alphas).argmin())
    norm = Normalize(first.min(), first.max())
    best = []
    for ax, (name, label) in zip(axes[0], METRICS.items(), strict=True):
        # Runs share their first factors at all alpha: differences are taken run by run.
        change = arrays[name] - arrays[name][equal]
        style.band(ax, alphas, change.T, style.GREY, linewidth=0.8, log=False)
        points = ax.scatter(
            alphas, change.mean(axis=1), c=first, cmap="viridis", norm=norm, s=14, zorder=3
        )
        ax.axhline(0, color="black", linewidth=0.8)
        style.labelled(ax, r"$\alpha$", f"change of {label}")
        at = int(arrays[name].mean(axis=1).argmin())
        best.append(f"{_words(name)} {alphas[at]:.2g}")
    figure.colorbar(points, ax=axes[0, 2], label=r"iterations of the first component $t_1$")
    style.finding(figure, "smallest at " + r"$\alpha$: " + ";   ".join(best))
    return figure


@style.styled
def allocation_limits(arrays: Arrays, setting: Setting) -> Figure:
    """The sweep at other budgets, designs of X and steps; a ring marks the best alpha."""
    alphas, total = arrays["alphas"], int(arrays["total"])
    figure, axes = style.panels(
        1,
        3,
        "Which division of the budget is best depends on budget, conditioning and step size\n"
        + conditions(setting, design=False, spectrum="exponential"),
        size=(3.9, 3.5),
    )
    panels = (
        (
            "by_total",
            [f"T = {value}" for value in arrays["totals"]],
            f"fixed step, {setting.design} design, by budget T",
        ),
        ("by_design", list(arrays["designs"]), f"fixed step, T = {total}, by design of X"),
        ("by_design_auto", list(arrays["designs"]), f"adaptive step, T = {total}, by design of X"),
    )
    for ax, (name, labels, title) in zip(axes[0], panels, strict=True):
        for row, label in enumerate(labels):
            color, runs = style.PALETTE[row], arrays[name][row]
            line = "-" if name == "by_total" else style.LINES[row]  # designs may coincide
            style.band(ax, alphas, runs.T, color, str(label), linestyle=line)
            best = int(runs.mean(axis=1).argmin())
            ring = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "color": color}
            ax.plot(alphas[best], runs.mean(axis=1)[best], **ring)
        style.labelled(ax, r"$\alpha$   (ring: best)", RECONSTRUCTION, title)
        style.log_axis(ax)
        style.legend_on_top(ax)
    return figure


@style.styled
def allocation_sizes(arrays: Arrays, setting: Setting) -> Figure:
    """The sweep for problems of several sizes, a panel for each design of X."""
    alphas, designs = arrays["alphas"], arrays["designs"]
    problems = [f"{m} x {d}, n = {n}, r = {rank}" for m, d, n, rank in arrays["sizes"]]
    figure, axes = style.panels(
        1,
        len(designs),
        f"Dividing {arrays['each']} iterations per component, by size of the problem\n"
        f"{setting.trials} runs, {setting.step} step, exponential spectrum",
        size=(4.7, 3.5),
    )
    best = 0
    for ax, design, errors in zip(axes[0], designs, arrays["reconstruction"], strict=True):
        for row, problem in enumerate(problems):
            color, line = style.PALETTE[row], style.LINES[row]
            style.band(ax, alphas, errors[row].T, color, problem, linestyle=line)
            best += int(errors[row].mean(axis=1).argmin() == len(alphas) - 1)
        style.labelled(ax, r"$\alpha$", RECONSTRUCTION, f"{design} design")
        style.log_axis(ax)
        style.legend_on_top(ax)
    style.finding(
        figure,
        f"least at $\\alpha$ = {alphas[-1]:g} in {best} of {len(designs) * len(problems)} cases",
    )
    return figure


def _words(name: str) -> str:
    return name.replace("_", " ")


def _ends(runs: np.ndarray) -> str:
    return " / ".join(f"{value:.3g}" for value in runs.mean(axis=-1))


RECIPES = (
    Recipe(
        "sequential_allocation",
        f"{ONE}, Figure 1",
        "three ways to divide a small budget among the components",
        experiment.allocation,
        allocation,
        sizes(Scale(QUICK, {"total": 200}), Scale(PAPER)),
    ),
    Recipe(
        "sequential_alpha_sweep",
        f"{ONE}, the released sweep over alpha",
        "the errors at the end of the budget against alpha",
        experiment.alpha_sweep,
        alpha_sweep,
        sizes(Scale(QUICK, {"total": 200, "alphas": tuple(np.linspace(-2, 2, 21))}), Scale(PAPER)),
    ),
    Recipe(
        "sequential_allocation_limits",
        f"{ONE}, Figure 1, under other conditions",
        "the best division changes with the budget, the design of X and the step size",
        experiment.allocation_limits,
        allocation_limits,
        sizes(
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
    ),
    Recipe(
        "sequential_sizes",
        f"{ONE}, appendix E",
        "the best division of a small budget at several sizes and ranks, columns or rows of unit "
        "norm",
        experiment.allocation_sizes,
        allocation_sizes,
        sizes(
            Scale(QUICK, {"sizes": ((20, 40, 100, 4), (40, 80, 200, 8), (40, 80, 200, 12))}),
            Scale(dataclasses.replace(PAPER, trials=3)),
        ),
    ),
)
