"""Figures 5 and 6 of the survey on low-rank structures: adapters in training.

Source: arXiv 2503.19859.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from finetune.studies.panels import NAMES, finding
from finetune.studies.survey.figures import shades
from rankwise.plots.recipe import Arrays
from rankwise.plots.style import BLUE, GREY, PALETTE

TITLE = {"lora": "LoRA", "deeplora": "Deep LoRA"}
WINDOW = 10
ROOM = 60  # letters below an axis; longer names are left out for numbers


def rates(arrays: Arrays, setting=None) -> Figure:
    """Norms of a and of b, loss and score over training, for each ratio of the rates. Figure 5.

    Args:
      arrays: as from `finetune.studies.survey.factor_rates`.
      setting: a `RatesSetting`, for the title.

    Example:
      >>> from finetune.studies.survey.registry import registry
      >>> recipe = registry()["survey_factor_rates"]
      >>> recipe.draw(recipe.arrays("quick")).savefig("rates.png")  # doctest: +SKIP
    """
    course = arrays.get("course")  # not in files of earlier versions
    panels = 3 if course is None else 4
    figure = Figure(figsize=(3.6 * panels, 3.9), layout="constrained")
    left, middle, right, *last = figure.subplots(1, panels)
    steps, losses = arrays["steps"], arrays["losses"]
    window = max(1, min(WINDOW, losses.shape[1] // 5))
    parts, ends = [], []
    for number, ratio in enumerate(arrays["ratios"]):
        color = PALETTE[number % len(PALETTE)]
        label = "LoRA" if ratio == 1 else f"LoRA+, ratio {ratio:g}"
        norm_a, norm_b = arrays["norm_a"][number], arrays["norm_b"][number]
        left.plot(steps, norm_a / norm_a[0], color=color, label=label)
        middle.plot(steps, norm_b, color=color, label=label)
        smooth = np.convolve(losses[number], np.ones(window) / window, "valid")
        right.semilogy(np.arange(window, losses.shape[1] + 1), smooth, color=color, label=label)
        for axis in last:
            axis.plot(steps, course[number], color=color, label=label)
        parts.append(f"{label}: |a| x {norm_a[-1] / norm_a[0]:.2f}, |b| 0 to {norm_b[-1]:.2f}")
        ends.append(f"{arrays['scores'][number]:.3f}")
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.yaxis.set_minor_formatter(NullFormatter())
    left.set(xlabel="step", ylabel="Frobenius norm of a / at the start")
    middle.set(xlabel="step", ylabel="Frobenius norm of b")
    right.set(xlabel="step", ylabel=f"training loss, mean of {window} steps")
    metric = str(arrays["metric"]).replace("_", " and ")
    for axis in last:
        axis.set(xlabel="step", ylabel=f"{metric} on the rows held out")
    left.legend(fontsize=8)
    rank = "" if setting is None else f", rank {setting.rank}, rate {setting.learning_rate:g}"
    figure.suptitle(f"LoRA with a faster second factor\n{_data(arrays)}{rank}", fontsize=10)
    finding(figure, f"{';  '.join(parts)}\n{metric} at the end: {', '.join(ends)}")
    return figure


def deep(arrays: Arrays, setting=None) -> Figure:
    """Spectrum and subspace of Deep LoRA's updates, ranks by layer, and few rows. Figure 6.

    Args:
      arrays: as from `finetune.studies.survey.deep_adaptation`.
      setting: a `DeepSetting`, for the titles.
    """
    figure = Figure(figsize=(10.4, 7.6), layout="constrained")
    (values, subspace), (ranks, few) = figure.subplots(2, 2)
    _values(values, arrays)
    _subspaces(subspace, arrays, setting)
    _ranks(ranks, arrays, setting)
    _few(few, arrays, setting)
    rank = "" if setting is None else f" of rank {setting.rank}"
    title = f"Deep LoRA, of three full-width factors, beside LoRA{rank}"
    figure.suptitle(f"{title}\n{_data(arrays)}", fontsize=11)
    last = arrays["scores"].mean(axis=2)
    parts = [
        f"{TITLE[str(name)]} {', '.join(f'{x:.3f}' for x in row)}, ranks "
        f"{min(count)} to {max(count)}"
        for name, row, count in zip(arrays["methods"], last, arrays["ranks"], strict=True)
    ]
    rows = ", ".join(map(str, arrays["few"]))
    above = f"score of the run above {float(arrays['score']):.3f};  "
    finding(figure, f"{above}means with {rows} rows:  {';  '.join(parts)}")
    return figure


def _values(axis, arrays: Arrays) -> None:
    # The module that moves most: one panel cannot show all of them.
    shown = int(arrays["values"][:, -1, 0].argmax())
    curves = arrays["values"][shown]
    for number, color in enumerate(shades(curves.shape[1])):
        axis.plot(arrays["steps"], curves[:, number], color=color, label=number + 1)
    axis.set(xlabel="step", ylabel="singular value of the update")
    axis.set_title(f"the update that is largest: {_short(arrays['paths'])[shown]}", fontsize=9)
    axis.set_ylim(top=curves.max() * 1.45)
    axis.legend(title="number", fontsize=6.5, title_fontsize=7, ncols=5, loc="upper left")


def _subspaces(axis, arrays: Arrays, setting) -> None:
    steps = arrays["steps"][1:]
    for number, curve in enumerate(arrays["alignment"][:, 1:]):
        label = "each module" if number == 0 else None
        axis.plot(steps, curve, color=GREY, linewidth=0.7, alpha=0.6, label=label)
    mean = arrays["alignment"][:, 1:].mean(axis=0)
    axis.plot(steps, mean, color=BLUE, linewidth=2.2, label="mean")
    size = 8 if setting is None else setting.subspace
    side = "" if setting is None else f", {setting.side} side"
    axis.set(xlabel="step", ylabel="overlap with the last subspace", ylim=(0, 1.05))
    axis.set_title(f"leading {size} singular vectors{side}", fontsize=9)
    axis.legend(fontsize=7.5, loc="lower right")


def _ranks(axis, arrays: Arrays, setting) -> None:
    paths = _short(arrays["few_paths"])
    place, names = np.arange(len(paths)), arrays["methods"]
    for number, name in enumerate(map(str, names)):
        heights = arrays["ranks"][number]
        where = place + (number - 0.5) * 0.4
        axis.bar(where, heights, 0.4, color=PALETTE[number], label=TITLE[name])
    axis.set(xlabel="module", ylabel="rank of the update")
    axis.set_ylim(0, max(arrays["ranks"].max(), 1) * 1.35)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    if sum(map(len, paths)) <= ROOM:
        axis.set_xticks(place, paths, fontsize=7)
    else:
        axis.set_xlabel("module, by name")
    rule = ""
    if setting is not None:
        rule = f", values above {100 * setting.relative:g} % and {setting.absolute:g}"
    axis.set_title(f"after {arrays['few'][-1]} rows{rule}", fontsize=9)
    axis.legend(fontsize=7.5, ncols=2)


def _few(axis, arrays: Arrays, setting) -> None:
    for number, name in enumerate(map(str, arrays["methods"])):
        scores = arrays["scores"][number]
        color = PALETTE[number]
        axis.plot(arrays["few"], scores.mean(axis=1), "o-", color=color, label=TITLE[name])
        axis.plot(arrays["few"], scores, "x", color=color, alpha=0.6)
    axis.plot([], [], "x", color=GREY, label="each seed")
    axis.set_xscale("log")
    axis.set_xticks(arrays["few"], [str(n) for n in arrays["few"]])
    axis.minorticks_off()
    axis.set(xlabel="training rows", ylabel=str(arrays["metric"]).replace("_", " and "))
    seeds = arrays["scores"].shape[2]
    form = "" if setting is None or setting.compressed_rate is None else ", Deep LoRA compressed"
    axis.set_title(f"few rows, {seeds} seed{'s' if seeds > 1 else ''}{form}", fontsize=9)
    axis.legend(fontsize=7.5)


def _data(arrays: Arrays) -> str:
    """The data, with what has to be said beside their numbers."""
    task, note = str(arrays["task"]), str(arrays["note"])
    name = {"stsb": "STS-B"}.get(task, NAMES.get(task, task))
    return f"{name}, {arrays['rows']} training rows" + (f", {note}" if note else "")


def _short(paths) -> list[str]:
    """The paths without most of what all of them begin with."""
    names = [str(path) for path in paths]
    start = 0
    while len(names) > 1 and len({name.split(".")[start] for name in names}) == 1:
        start += 1
    start = max(start - 1, 0)  # "layers.0" says more than "0"
    return [".".join(name.split(".")[start:]) for name in names]
