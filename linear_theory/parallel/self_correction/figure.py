"""Parallel deflation round by round: self-correction, warm-up, advance learning, and the cost."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import TWO
from linear_theory.labels import ERROR, conditions
from linear_theory.parallel.problems import COLUMNS, RANK, ROWS, SAMPLES
from linear_theory.parallel.self_correction import (
    experiment_errors,
    experiment_versus,
    experiment_warm_up,
)
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes

ROUND = "round (all workers at once)"
FLOOR = 1e-16


@style.styled
def parallel_errors(arrays: Arrays, setting: Setting) -> Figure:
    """Errors per worker against rounds, two bounds and the late rate; the essay's Figure I."""
    workers, rounds = arrays["error"].shape[-1], arrays["rounds"]
    figure, axes = style.panels(
        1,
        workers,
        "Self-correction: every worker's error falls geometrically although it starts on a wrong "
        f"target\nspectrum $\\sigma_k = {float(arrays['ratio']):g}^{{k-1}}$, power iteration, "
        f"staggered, advance learning; {arrays['error'].shape[0]} random problems",
        size=(3.0, 3.2),
        sharey=True,
    )
    for worker in range(workers):
        ax, error = axes[0, worker], arrays["error"][..., worker]
        style.band(ax, rounds, error, style.PALETTE[0], "measured (mean, std)")
        for name, label, line, color in (
            ("envelope", "proved envelope", "--", style.PALETTE[1]),
            ("settled", "warm-up theorem, $6(l-s_k+2)m_k^{l-s_k+1}$", ":", style.PALETTE[2]),
        ):
            bound = arrays[name][..., worker].mean(axis=0)
            bound = np.where(np.isfinite(bound), bound, np.nan)
            ax.plot(rounds, bound, linestyle=line, color=color, label=label)
        _late_line(ax, rounds, error.mean(axis=0), float(arrays["late_rate"][worker]))
        start = arrays["warm_up"][:, worker].mean()
        style.labelled(
            ax,
            ROUND,
            "" if worker else ERROR,
            f"worker {worker + 1}, late rate {arrays['late_rate'][worker]:.2g}\n"
            f"theorem: $m_{worker + 1}$ = {arrays['proved_rate'][:, worker].mean():.2g}, "
            f"$s_{worker + 1}$ = {start:.0f}",
        )
        style.log_axis(ax)
    axes[0, 0].set_ylim(FLOOR, 30)
    style.legend_below(figure, axes[0, 0])
    return figure


def _late_line(ax: Axes, rounds: np.ndarray, error: np.ndarray, rate: float) -> None:
    """The predicted slope, a decade above the data from where they are below 1e-3 on."""
    below = np.flatnonzero(error < 1e-3)
    if below.size:
        start = below[0]
        line = 10 * error[start] * rate ** (rounds[start:] - rounds[start]).astype(float)
        keep = line > 10 * FLOOR
        label = r"slope of the late rate $\max(F_{k-1}, F_k)$"
        ax.plot(rounds[start:][keep], line[keep], color="black", linewidth=1, label=label)


@style.styled
def warm_up(arrays: Arrays, setting: Setting) -> Figure:
    """Rounds until a worker's target is good enough, against the gap and against the worker."""
    figure, axes = style.panels(
        1,
        2,
        "Warm-up: first round from which the mismatch stays within the gate "
        r"$\tau T_k/\sqrt{2}$, $\tau = 1/2$" + f"\n{conditions(setting)}, power iteration",
        size=(4.7, 3.5),
    )
    left, right = axes[0]
    lines = (
        ("measured", "measured", "-"),
        ("sharp", r"proved, $\ln(1/T_2)$ law", "--"),
        ("lambert_1", "Lambert W, amplitude 1", "-."),
        ("lambert_6", "Lambert W, amplitude 6", ":"),
        ("theorem", r"warm-up theorem, $s_2$", (0, (1, 3))),
    )
    for row, (name, label, line) in enumerate(lines):
        color = style.PALETTE[row]
        mark = style.MARKERS[row]
        style.band(left, arrays["gaps"], arrays[name].T, color, label, linestyle=line, marker=mark)
    style.labelled(
        left,
        r"gap $T_2 = \sigma_2 - \sigma_3$",
        "round",
        r"worker 2, $\sigma_1$ = 1, $\sigma_2$ = 0.8",
    )
    left.set_xscale("log")
    left.invert_xaxis()
    left.set_ylim(0, None)
    left.legend(ncols=1, loc="upper left")
    left.set_ylim(0, 1.65 * left.get_ylim()[1])  # room for the legend
    index = np.arange(1, arrays["measured_workers"].shape[-1] + 1)
    for row, ratio in enumerate(style.numbers(arrays["ratios"])):
        color, mark = style.PALETTE[row], style.MARKERS[row]
        measured, proved = arrays["measured_workers"][row], arrays["theorem_workers"][row]
        style.band(right, index, measured, color, f"ratio {ratio}", marker=mark)
        right.plot(index, proved.mean(axis=0), color=color, linestyle=":")
    style.labelled(
        right, "worker $k$", "round", "geometric spectra: measured (solid), theorem $s_k$ (dotted)"
    )
    style.log_axis(right)
    right.set_xticks(index)
    right.legend(loc="upper left")
    return figure


@style.styled
def advance_learning(arrays: Arrays, setting: Setting) -> Figure:
    """Errors with and without private refinement, and their ratio for many spectra."""
    workers = arrays["with"].shape[-1]
    figure, axes = style.panels(
        1,
        2,
        "Advance learning: workers that do not publish yet refine in private\n"
        f"{conditions(setting)}, power iteration",
        size=(4.9, 3.6),
    )
    left, right = axes[0]
    rounds = np.arange(1, arrays["with"].shape[1] + 1)
    for color, worker in zip(style.PALETTE, (1, workers - 1), strict=False):
        for name, line in (("without", "--"), ("with", "-")):
            label = f"worker {worker + 1}, {name}"
            runs = arrays[name][..., worker]
            style.band(left, rounds, runs, color, label, linestyle=line)
    shown = arrays["without"].mean(axis=0)[:, -1]
    last = int(np.argmax(shown < 1e-10)) or len(rounds) - 1
    left.set(xlim=(0, rounds[last]), ylim=(1e-11, 100))
    sweeps = f"{arrays['sweeps'][0]} sweep per round"
    style.labelled(left, ROUND, ERROR, f"{arrays['spectra'][0]} spectrum, {sweeps}")
    style.log_axis(left)
    left.legend()
    _ratios(right, arrays)
    return figure


def _ratios(ax: Axes, arrays: Arrays) -> None:
    """Median, 10 to 90 percent and the share that got worse, by spectrum and sweeps."""
    position, labels = 0.0, []
    for row, spectrum in enumerate(arrays["spectra"]):
        for column, sweeps in enumerate(arrays["sweeps"]):
            runs = arrays["ratio"][row, column].ravel()
            runs = runs[np.isfinite(runs)]
            low, middle, high = np.percentile(runs, [10, 50, 90])
            color = style.PALETTE[column]
            label = f"{sweeps} sweep{'s' * (int(sweeps) > 1)} per round" if row == 0 else None
            ax.errorbar(
                middle,
                -position,
                xerr=([middle - low], [high - middle]),
                marker=style.MARKERS[column],
                color=color,
                capsize=3,
                label=label,
            )
            worse = (runs > 1).mean()
            ax.annotate(
                f"worse in {worse:.0%}",
                (0.99, -position),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=7.5,
            )
            labels.append((-position, str(spectrum)))
            position += 1
        position += 0.5
    ax.axvline(1, color="black", linewidth=0.9)
    ax.axvline(2 / 3, color=style.GREY, linestyle="--", linewidth=1, label="one third better")
    ticks, names = zip(*labels[:: len(arrays["sweeps"])], strict=True)
    ax.set_yticks(np.asarray(ticks) - (len(arrays["sweeps"]) - 1) / 2, names)
    ax.grid(axis="y", visible=False)
    target = float(arrays["target"])
    style.labelled(
        ax,
        f"error with / without, when the one without is {target:g}\n(median, 10 to 90 percent; "
        f"workers 2 to {arrays['with'].shape[-1]})",
        "spectrum",
    )
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * 60)  # room for the shares
    ax.legend(loc="lower left")


@style.styled
def versus_sequential(arrays: Arrays, setting: Setting) -> Figure:
    """Component errors at the end, and the error of the sum against rounds and against work."""
    spectra, each = arrays["spectra"], int(arrays["each"])
    workers = arrays["parallel_error"].shape[-1]
    total = workers * each
    # Rounds after which the parallel workers have together done what sequential does in all.
    equal_work = int(np.searchsorted(arrays["parallel_work"], arrays["sequential_work"][-1])) + 1
    figure, axes = style.panels(
        len(spectra),
        3,
        f"One after the other ({each} rounds each, then frozen) against all at once\n"
        f"{conditions(setting)}, {workers} workers, power iteration",
        size=(3.8, 2.9),
    )
    for row, spectrum in enumerate(spectra):
        _components(axes[row, 0], arrays, row, (total, equal_work))
        style.labelled(axes[row, 0], "component $k$", ERROR, f"{spectrum}: components at the end")
        rounds = np.arange(1, total + 1)
        for ax, x, label in (
            (axes[row, 1], {"sequential": rounds, "parallel": rounds}, "rounds"),
            (
                axes[row, 2],
                {way: arrays[f"{way}_work"] for way in ("sequential", "parallel")},
                "work (rounds of single workers)",
            ),
        ):
            for way, color in zip(("sequential", "parallel"), style.PALETTE, strict=False):
                style.band(ax, x[way], arrays[f"{way}_sum_error"][row], color, way)
            style.labelled(ax, label, "relative error of the sum", f"{spectrum}: sum")
            style.log_axis(ax)
    axes[0, 0].legend(fontsize=7)
    axes[0, 1].legend()
    return figure


def _components(ax: Axes, arrays: Arrays, row: int, ends: tuple[int, int]) -> None:
    index = np.arange(1, arrays["parallel_error"].shape[-1] + 1)
    curves = (
        ("sequential", ends[0], f"sequential, {ends[0]} rounds", "-"),
        ("parallel", ends[0], f"parallel, {ends[0]} rounds", "-"),
        ("parallel", ends[1], f"parallel, {ends[1]} rounds (equal work)", "--"),
    )
    for which, (way, end, label, line) in enumerate(curves):
        runs = arrays[f"{way}_error"][row, :, end - 1]
        mark = {"marker": style.MARKERS[which], "linestyle": line}
        style.band(ax, index, runs, style.PALETTE[which], label, **mark)
    style.log_axis(ax)
    ax.set_ylim(FLOOR, 1e3)
    ax.set_xticks(index)


WORKERS = Setting(m=18, d=15, n=60, rank=8, trials=20, design="orthonormal")
MANY_WORKERS = Setting(m=18, d=15, n=60, rank=8, trials=100, design="orthonormal")
MEASURED = Setting(m=ROWS, d=COLUMNS, n=SAMPLES, rank=RANK, trials=20, design="gauss")
RECIPES = (
    Recipe(
        "parallel_errors",
        f"{TWO}, the essay's Figure I, from data",
        "the error of every worker against rounds, its bounds and its late rate",
        experiment_errors.parallel_errors,
        parallel_errors,
        sizes(Scale(MEASURED), Scale(MEASURED, {"rounds": 100})),
    ),
    Recipe(
        "parallel_warm_up",
        f"{TWO}, warm-up",
        "how long a worker waits for its predecessors, against the gap",
        experiment_warm_up.warm_up_against_gap,
        warm_up,
        sizes(Scale(WORKERS), Scale(MANY_WORKERS)),
    ),
    Recipe(
        "parallel_advance_learning",
        f"{TWO}, advance learning",
        "what private refinement before the first broadcast is worth",
        experiment_versus.advance_learning,
        advance_learning,
        sizes(Scale(WORKERS, {"rounds": 64}), Scale(MANY_WORKERS)),
    ),
    Recipe(
        "parallel_versus_sequential",
        TWO,
        "parallel against sequential at equal rounds and at equal work",
        experiment_versus.versus_sequential,
        versus_sequential,
        sizes(Scale(WORKERS), Scale(MANY_WORKERS)),
    ),
)
