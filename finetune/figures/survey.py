"""Figures of the survey on low-rank structures: arrays of `finetune.survey_recipes` in.

Source: arXiv 2503.19859.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from finetune.panels import finding, name_of

Arrays = Mapping[str, np.ndarray]
BLUE, RED, GREEN = "#0072B2", "#D55E00", "#009E73"
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


def dropout(arrays: Arrays, setting=None) -> Figure:
    """How many singular values of the outputs exceed 2 % of the largest, by dropout. Figures 2, 9.

    Args:
      arrays: rates (R,) and, for each network that is there, NAME_counts (S, R) and
        NAME_values (S, R, k).
      setting: not read; all figures are called alike.

    Example:
      >>> from finetune.survey_recipes import registry
      >>> recipe = registry()["survey_dropout"]
      >>> recipe.draw(recipe.arrays("quick")).savefig("dropout.png")  # doctest: +SKIP
    """
    names = [name for name in ("dln", "relu", "resnet") if f"{name}_counts" in arrays]
    rates = arrays["rates"]
    figure = Figure(figsize=(4.2 * len(names), 6.6), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    colors = shades(len(rates))
    for (above, below), name in zip(axes.T, names, strict=True):
        counts, values = arrays[f"{name}_counts"], arrays[f"{name}_values"]
        above.plot(rates, counts.mean(axis=0), color=BLUE, marker="o", label="mean over seeds")
        for number, seed in enumerate(counts):
            label = "each seed" if number == 0 else None
            above.plot(rates, seed, "x", color="k", markersize=4, label=label)
        above.set(xlabel="dropout rate", ylabel="singular values above 2 %", title=TITLES[name])
        above.set(ylim=(0, counts.max() * 1.3), xticks=rates)
        above.yaxis.set_major_locator(MaxNLocator(integer=True))
        above.legend(fontsize=7)
        relative = values.mean(axis=0) / values.mean(axis=0).max(axis=-1, keepdims=True)
        shown = np.arange(1, values.shape[-1] + 1)
        for rate, color, curve in zip(rates, colors, relative, strict=True):
            curve = np.maximum(curve, FLOOR)
            below.semilogy(shown, curve, ".-", color=color, linewidth=1, label=f"{rate:g}")
        below.axhline(MOVED, color="k", linestyle="--", linewidth=0.8)
        below.set(xlabel="number of the singular value", ylabel="singular value / largest")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.legend(title="dropout rate", fontsize=7, title_fontsize=7)
    figure.suptitle(_title(arrays, "Rank of the last activations under dropout", setting))
    means = {name: arrays[f"{name}_counts"].mean(axis=0) for name in names}
    lines = [f"{TITLES[n]}: {', '.join(f'{c:.3g}' for c in m)}" for n, m in means.items()]
    text = "counts by rate  " + ";  ".join(lines)
    if "resnet_accuracy" in arrays:
        shown = ", ".join(f"{a:.2f}" for a in arrays["resnet_accuracy"].mean(axis=0))
        text += f"\naccuracy by rate  {shown}"
    finding(figure, text)
    return figure


def updates(arrays: Arrays, setting=None) -> Figure:
    """Singular values of W_pen(t) - W_pen(0) over training, a panel per network. Figure 1.

    Args:
      arrays: networks (N,) and for each its arrays of `finetune.experiments.update_spectra`.
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
      arrays: fc2 and value, as from `finetune.experiments.update_spectra`, names before the keys.
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
      arrays: as from `finetune.experiments.deep_factors`.
      setting: a `FactorsSetting`, for the title.
    """
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, values, rank = arrays["steps"], arrays["values"], arrays["largest"].shape[1]
    parts = {"largest": (BLUE, slice(None, rank)), "smallest": (RED, slice(-rank, None))}
    others = values[:, rank:-rank]
    left.fill_between(steps, others[:, -1], others[:, 0], color=GREEN, alpha=0.3, linewidth=0)
    left.plot(steps, others[:, [0, -1]], color=GREEN, linewidth=1.6)
    left.plot([], [], color=GREEN, linewidth=4, label=f"the other {others.shape[1]}")
    for name, (color, place) in parts.items():
        curves = left.plot(steps, values[:, place], color=color, linewidth=1.2)
        curves[0].set_label(f"{rank} {name}")
        right.plot(steps, arrays[name], color=color, linewidth=0.9, alpha=0.8)
        right.plot([], [], color=color, label=f"each of the {rank} {name}")
    label = "the others as a subspace"
    right.plot(steps, arrays["middle"], color=GREEN, linewidth=2.2, label=label)
    left.set(xlabel="step", ylabel="singular values of the first factor")
    right.set(xlabel="step", ylabel="angle to step 1 (degrees)", ylim=(-3, 93))
    left.set_ylim(top=values.max() + 0.3 * np.ptp(values))
    left.legend(fontsize=7, loc="upper left")
    right.legend(fontsize=7)
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
