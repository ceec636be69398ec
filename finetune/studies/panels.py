"""What the figures of the image study have in common: a panel per data set, named by its data."""

from __future__ import annotations

import functools

import numpy as np
from matplotlib.figure import Figure

from rankwise.plots import style
from rankwise.plots.recipe import Arrays

finding = functools.partial(style.finding, size=8)  # long: a part per data set or run
NAMES = {"digits": "scikit-learn's digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}


def split(arrays: Arrays) -> list[dict[str, np.ndarray]]:
    """The arrays of each data set, without its name before them."""
    return [
        {
            key.removeprefix(f"{task}_"): value
            for key, value in arrays.items()
            if key.startswith(f"{task}_")
        }
        for task in map(str, arrays["tasks"])
    ]


def panels_of(arrays: Arrays, title: str, height: float = 3.4):
    """A figure and (axis, arrays) per data set; the titles say what the data are."""
    parts = split(arrays)
    figure = Figure(figsize=(max(4.6 * len(parts), 5.6), height + 0.7), layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False)[0]
    figure.suptitle(title)
    for axis, data in zip(axes, parts, strict=True):
        seeds = len(data["seeds"])
        runs = f"{seeds} seed{'s' if seeds > 1 else ''}"
        axis.set_title(f"{name_of(data)}\n{data['rows']} training images, {runs}", fontsize=8.5)
        axis.grid(alpha=0.25, linewidth=0.6)
    return figure, list(zip(axes, parts, strict=True))


def name_of(data: Arrays) -> str:
    """The data set, with what has to be said beside its numbers."""
    task, note = str(data["task"]), str(data["note"])
    name = NAMES.get(task, task)
    return f"{name}, {note}" if note else name
