"""The picture of `launch.compare`: a panel per task, a line per method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rankwise.plots.style import LINES

COLUMNS = 3


def scores(records: Sequence[dict[str, Any]], rows: Sequence[tuple]) -> Figure:
    """Score of every run (dots) and their mean (bar), methods from best to worst in each panel.

    Args:
      records, rows: of `launch.comparing.table`.
    """
    tasks = list(dict.fromkeys(row[0] for row in rows))
    methods = max(sum(row[0] == task for row in rows) for task in tasks)
    across = min(len(tasks), COLUMNS)
    down = -(-len(tasks) // across)
    size = (4.6 * across, (1.1 + 0.26 * methods) * down + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, task in zip(axes, tasks, strict=False):
        _panel(axis, [row for row in rows if row[0] == task], records)
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    _legend(figure, "outside lower right")  # beside the panels: within one it would cover a row
    return figure


def curves(records: Sequence[dict[str, Any]]) -> Figure:
    """Score over the steps, a panel per task: every run, and bold the mean of a method's seeds.

    A curve that still rises at its end is of a run that has not converged.

    Args:
      records: of `launch.comparing.cells`, whose `curve` has the evaluations of a run.
    """
    tasks = list(dict.fromkeys(record["task"] for record in records))
    methods = list(dict.fromkeys(record["recipe"] for record in records))
    figure = Figure(figsize=(4.6 * len(tasks), 3.8), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, task in zip(axes, tasks, strict=True):
        of_task = [record for record in records if record["task"] == task]
        for number, method in enumerate(methods):
            own = [r["curve"] for r in of_task if r["recipe"] == method and r.get("curve")]
            color, line = f"C{number % 10}", LINES[number // 10 % len(LINES)]
            for curve in own:
                axis.plot(*zip(*curve, strict=True), line, color=color, linewidth=0.6, alpha=0.4)
            steps = {step for step, _ in own[0]} if own else set()
            shared = sorted(steps.intersection(*({step for step, _ in c} for c in own)))
            mean = [np.mean([dict(curve)[step] for curve in own]) for step in shared]
            axis.plot(shared, mean, line, color=color, label=method)
        seen = [score for r in of_task for _, score in r.get("curve") or ()]
        label = _majority(axis.axhline, seen, of_task[0]["majority"])
        axis.set(title=task, xlabel="step", ylabel=of_task[0]["metric"].replace("_", " ") + label)
        axis.grid(alpha=0.3)
    _legend(figure, "outside right upper")
    return figure


def _panel(axis, rows: Sequence[tuple], records: Sequence[dict[str, Any]]) -> None:
    task, metric, majority = rows[0][0], rows[0][2], rows[0][8]
    ordered = sorted(rows, key=lambda row: -np.inf if row[3] is None else row[3])
    for height, row in enumerate(ordered):
        values = [
            r["score"]
            for r in records
            if (r["task"], r["recipe"]) == (task, row[1]) and r["score"] is not None
        ]
        axis.plot(values, [height] * len(values), "o", markersize=3, color="tab:blue", alpha=0.6)
        if values:
            axis.plot([row[3]], [height], "|", markersize=11, color="black")
    seen = [r["score"] for r in records if r["task"] == task and r["score"] is not None]
    label = _majority(axis.axvline, seen, majority)
    names = [row[1] if row[3] is not None else f"{row[1]} (diverged)" for row in ordered]
    axis.set_yticks(range(len(ordered)), names, fontsize=8)
    axis.set_ylim(-0.6, len(ordered) - 0.4)  # half a row around the first and the last
    axis.set(title=task, xlabel=metric.replace("_", " ") + label)
    axis.locator_params(axis="x", nbins=5)  # scores of four digits and a point leave room for six
    axis.grid(axis="x", alpha=0.3)


def _legend(figure: Figure, where: str) -> None:
    """Of all panels, each name once."""
    of_panels = [axis.get_legend_handles_labels() for axis in figure.axes]
    handles = {name: h for panel in of_panels for h, name in zip(*panel, strict=True)}
    if handles:
        figure.legend(handles.values(), handles, fontsize=7, loc=where, frameon=False)


def _majority(line, scores: Sequence[float], majority: float) -> str:
    """Draws the majority class, unless an axis that reaches it could not tell scores apart: then
    it is said, in what is returned for the axis' label."""
    span = max(scores, default=0) - min(scores, default=0)
    if span and not min(scores) - span <= majority <= max(scores) + span:
        return f" (majority class: {majority:.3g})"
    line(majority, linestyle="--", color="gray", linewidth=1, label="majority class")
    return ""
