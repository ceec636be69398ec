"""Figures of the survey on low-rank structures: arrays of `finetune.studies.survey.registry` in.

Source: arXiv 2503.19859.
"""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from finetune.studies.panels import finding, name_of
from rankwise.plots.recipe import Arrays
from rankwise.plots.style import BLUE, GREEN, RED

TITLES = {
    "dln": "deep linear network",
    "relu": "ReLU MLP",
    "mlp": "ReLU MLP",
    "vgg": "VGG",
    "vit": "vision transformer",
    "resnet": "ResNet",
}
FLOOR = 1e-4  # of the largest value; smaller ones are rounding and would set the axis
MOVED = 0.02
SHOWN = 64  # values over training, of those that a wide layer has


def dropout(arrays: Arrays, setting=None) -> Figure:
    """How many singular values of the activations exceed 2 % of the largest. Figures 2 and 9.

    Args:
      arrays: rates (R,) and, for each network that is there, NAME_counts (S, R) and
        NAME_values (S, R, k); NAME_first_counts and NAME_first_values of the first layer, and
        NAME_course (S, R, T, k) with course_steps (T,), where they were recorded.
      setting: not read; all figures are called alike.

    Example:
      >>> from finetune.studies.survey.registry import registry
      >>> recipe = registry()["survey_dropout"]
      >>> recipe.draw(recipe.arrays("quick")).savefig("dropout.png")  # doctest: +SKIP
    """
    names = [name for name in ("dln", "relu", "resnet") if f"{name}_counts" in arrays]
    drawn = [_counts, _last_spectra]
    if f"{names[0]}_course" in arrays:  # not in files of earlier versions
        drawn = [_counts, _last_spectra, _first_spectra, _course]
    figure = Figure(figsize=(4.2 * len(names), 3.3 * len(drawn)), layout="constrained")
    axes = figure.subplots(len(drawn), len(names), squeeze=False)
    for column, name in zip(axes.T, names, strict=True):
        for axis, draw in zip(column, drawn, strict=True):
            draw(axis, arrays, name)
    figure.suptitle(_title(arrays, "Rank of the activations under dropout", setting))
    text = f"counts of the last layer by rate  {_means(arrays, names, 'counts')}"
    if f"{names[0]}_first_counts" in arrays:
        text += f"\nof the first  {_means(arrays, names, 'first_counts')}"
    if "resnet_accuracy" in arrays:
        shown = ", ".join(f"{a:.2f}" for a in arrays["resnet_accuracy"].mean(axis=0))
        text += f"\naccuracy by rate  {shown}"
    finding(figure, text)
    return figure


def _means(arrays: Arrays, names: list[str], kind: str) -> str:
    means = {name: arrays[f"{name}_{kind}"].mean(axis=0) for name in names}
    return ";  ".join(f"{TITLES[n]}: {', '.join(f'{c:.3g}' for c in m)}" for n, m in means.items())


def _counts(axis, arrays: Arrays, name: str) -> None:
    rates, highest = arrays["rates"], 1
    for kind, color, label in (("counts", BLUE, "last layer"), ("first_counts", RED, "first")):
        counts = arrays.get(f"{name}_{kind}")
        if counts is not None:
            axis.plot(rates, counts.mean(axis=0), color=color, marker="o", label=label)
            axis.plot(rates, counts.T, "x", color=color, markersize=4)
            highest = max(highest, counts.max())
    axis.plot([], [], "x", color="k", label="each seed")
    axis.set(xlabel="dropout rate", ylabel="singular values above 2 %", title=TITLES[name])
    axis.set(ylim=(0, highest * 1.35), xticks=rates)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=7, ncols=3)


def _last_spectra(axis, arrays: Arrays, name: str) -> None:
    _spectra(axis, arrays["rates"], arrays[f"{name}_values"], "last layer")


def _first_spectra(axis, arrays: Arrays, name: str) -> None:
    _spectra(axis, arrays["rates"], arrays[f"{name}_first_values"], "first layer")


def _spectra(axis, rates: np.ndarray, values: np.ndarray, layer: str) -> None:
    relative = values.mean(axis=0) / values.mean(axis=0).max(axis=-1, keepdims=True)
    shown = np.arange(1, values.shape[-1] + 1)
    for rate, color, curve in zip(rates, shades(len(rates)), relative, strict=True):
        curve = np.maximum(curve, FLOOR)
        axis.semilogy(shown, curve, ".-", color=color, linewidth=1, label=f"{rate:g}")
    axis.axhline(MOVED, color="k", linestyle="--", linewidth=0.8)
    axis.set(xlabel=f"number of the singular value, {layer}", ylabel="value / largest")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(title="dropout rate", fontsize=7, title_fontsize=7)


def _course(axis, arrays: Arrays, name: str) -> None:
    """The values of the last layer over training, at the rate nearest to the published 60 %."""
    index = int(np.argmin(np.abs(arrays["rates"] - 0.6)))
    values = arrays[f"{name}_course"][:, index].mean(axis=0)
    relative = np.maximum(values / values.max(axis=1, keepdims=True), FLOOR)[:, :SHOWN]
    for curve, color in zip(relative.T, shades(relative.shape[1]), strict=True):
        axis.semilogy(arrays["course_steps"], curve, color=color, linewidth=1)
    axis.axhline(MOVED, color="k", linestyle="--", linewidth=0.8)
    axis.set(xlabel=f"step, at rate {arrays['rates'][index]:g}", ylabel="value / largest, last")


def updates(arrays: Arrays, setting=None) -> Figure:
    """Singular values of W_pen(t) - W_pen(0) over training, a panel per network. Figure 1.

    Args:
      arrays: networks (N,) and for each its arrays of `finetune.studies.survey.update_spectra`.
    """
    names = [str(name) for name in arrays["networks"]]
    figure = Figure(figsize=(max(4.1 * len(names), 6), 4.2), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        data = part(arrays, name)
        steps, values = data["steps"], data["values"][0]
        ranks = np.unique(np.geomspace(1, values.shape[1], 12).round().astype(int)) - 1
        # The ten largest and a few of the rest: a line per value would be a block of colour.
        chosen = np.union1d(np.arange(min(10, values.shape[1])), ranks)
        for number, color in zip(chosen, shades(len(chosen)), strict=True):
            axis.plot(steps, values[:, number], color=color, linewidth=1.2, label=number + 1)
        size = values.shape[1]
        half = int((values[-1] > MOVED * values[-1, 0]).sum())
        axis.set_title(
            f"{TITLES[name]}\n{name_of(data)}, {data['rows']} images\n"
            f"at the end {half} of {size} above 2 %, accuracy {float(data['accuracy']):.3f}",
            fontsize=8,
        )
        axis.set(xlabel="step", ylabel="singular value of the update")
        axis.legend(title="number", fontsize=6, title_fontsize=6.5, ncols=2, loc="upper left")
        axis.set_ylim(0, values.max() * 1.6)
    figure.suptitle("Singular values of the penultimate matrix minus its start")
    return figure


def layers(arrays: Arrays, setting=None) -> Figure:
    """Spectra of the updates of FC2 and of the value matrices at the end, by layer. Figures 8, 10.

    Args:
      arrays: fc2 and value, as from `finetune.studies.survey.update_spectra`, names before keys.
    """
    figure = Figure(figsize=(9.2, 4.0), layout="constrained")
    axes = figure.subplots(1, 2)
    lines = []
    for axis, (key, name) in zip(axes, {"fc2": "FC2", "value": "value"}.items(), strict=True):
        data = part(arrays, key)
        last = data["values"][:, -1]
        relative = np.maximum(last / last[:, :1], FLOOR)
        for number, color in enumerate(shades(len(last))):
            shown = np.arange(1, last.shape[1] + 1)
            axis.semilogy(shown, relative[number], color=color, linewidth=1.3, label=number + 1)
        axis.axhline(MOVED, color="k", linestyle="--", linewidth=0.8)
        axis.set(xlabel="number of the singular value", ylabel="singular value / largest")
        axis.set_title(f"{name} matrices", fontsize=9)
        axis.legend(title="layer", fontsize=7, title_fontsize=7, ncols=2)
        counts = (relative > MOVED).sum(axis=1)
        lines.append(f"{name}: {', '.join(map(str, counts))} of {last.shape[1]}")
    where = f"{name_of(data)}, {data['rows']} images"
    figure.suptitle(f"Updates of a vision transformer by layer\n{where}", fontsize=10)
    finding(figure, "above 2 % of the largest, by layer:  " + ";  ".join(lines))
    return figure


def factors(arrays: Arrays, setting) -> Figure:
    """Spectrum and subspaces of the first of several factors over training. Figures 3 and 4.

    Args:
      arrays: as from `finetune.studies.survey.deep_factors`.
      setting: a `FactorsSetting`, for the title.
    """
    sides = [("", "right")]
    if "left_middle" in arrays:  # not in files of earlier versions
        sides.append(("left_", "left"))
    figure = Figure(figsize=(4.8 * (1 + len(sides)), 4.4), layout="constrained")
    left, *angles = figure.subplots(1, 1 + len(sides))
    steps, values, rank = arrays["steps"], arrays["values"], arrays["largest"].shape[1]
    parts = {"largest": (BLUE, slice(None, rank)), "smallest": (RED, slice(-rank, None))}
    others = values[:, rank:-rank]
    left.fill_between(steps, others[:, -1], others[:, 0], color=GREEN, alpha=0.3, linewidth=0)
    left.plot(steps, others[:, [0, -1]], color=GREEN, linewidth=1.6)
    left.plot([], [], color=GREEN, linewidth=4, label=f"the other {others.shape[1]}")
    for name, (color, place) in parts.items():
        curves = left.plot(steps, values[:, place], color=color, linewidth=1.2)
        curves[0].set_label(f"{rank} {name}")
        for axis, (prefix, _) in zip(angles, sides, strict=True):
            axis.plot(steps, arrays[prefix + name], color=color, linewidth=0.9, alpha=0.8)
            axis.plot([], [], color=color, label=f"each of the {rank} {name}")
    for axis, (prefix, side) in zip(angles, sides, strict=True):
        label = "the others as a subspace"
        axis.plot(steps, arrays[f"{prefix}middle"], color=GREEN, linewidth=2.2, label=label)
        axis.set(xlabel="step", ylim=(-3, 93))
        axis.set_ylabel(f"angle of {side} vectors to step 1 (degrees)")
        axis.legend(fontsize=7)
    left.set(xlabel="step", ylabel="singular values of the first factor")
    left.set_ylim(top=values.max() + 0.3 * np.ptp(values))
    left.legend(fontsize=7, loc="upper left")
    how = "gradient descent" if setting.optimiser == "gd" else "Adam"
    matrix = "a BERT's last value matrix" if setting.model else "a made Gaussian matrix"
    task = "The change of " if setting.change else "The product of "
    figure.suptitle(
        f"{task}{setting.depth} factors fitted to the {rank} leading directions of {matrix}\n"
        f"d = {arrays['size']}, start {setting.scale:g} x orthogonal, {how}, "
        f"rate {setting.learning_rate:g}",
        fontsize=10,
    )
    spread = others[-1]
    finding(
        figure,
        f"at the end: relative error {arrays['error'][-1]:.2g}, the others between "
        f"{spread[-1]:.3f} and {spread[0]:.3f}, their angle {arrays['middle'][-1]:.2g} degrees",
    )
    return figure


def part(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """The arrays of one network, without its name before them."""
    return {k.removeprefix(f"{name}_"): v for k, v in arrays.items() if k.startswith(f"{name}_")}


def _title(arrays: Arrays, text: str, setting) -> str:
    seeds = len(arrays["seeds"])
    runs = f"{seeds} seed{'s' if seeds > 1 else ''}"
    if "task" in arrays:
        return f"{text}\n{name_of(arrays)}, {arrays['rows']} images, {runs}"
    return f"{text}\nlinear teacher, Gaussian inputs, {runs}"


def shades(count: int) -> np.ndarray:
    """From dark to light, without the lightest, which cannot be seen on white."""
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count))
