"""The picture of a compression: error by depth of the network, and scores against size."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rankwise.plots.style import (
    GREY,
    LINES,
    MARKERS,
    PALETTE,
    labelled,
    log_axis,
    panels,
    styled,
)


@styled
def draw(record: dict[str, Any]) -> Figure:
    """Left: relative output error of every kind of map by layer. Right: the score against size."""
    others = record["others"]
    asked = record["asked"]
    title = f"ratio {asked['ratio']:g}, plan {asked['plan']}, form {asked['form']}"
    figure, axes = panels(1, 1 + bool(others), title, size=(4.6, 3.4))
    _errors(axes[0, 0], record["modules"])
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2 + bool(others),
        title="kind of map: held out (line), calibration (dots)",
    )
    if others:
        _scores(axes[0, 1], record)
        axes[0, 1].legend()
    return figure


def _errors(axes, rows) -> None:
    kinds: dict[str, list[tuple[int, dict]]] = {}
    for row in rows:
        layer = re.search(r"\.(\d+)\.", row["module"])
        name = row["module"][layer.end() :] if layer else row["module"]
        kinds.setdefault(name, []).append((int(layer[1]) if layer else 0, row["errors"]))
    for number, (name, points) in enumerate(kinds.items()):
        color = PALETTE[number % len(PALETTE)]
        layers = [layer for layer, _ in points]
        judged, fitted = (
            # A map that stays as it is has no error, which a logarithm cannot show.
            [errors[text] or np.nan for _, errors in points]
            for text in ("held out", "calibration")
        )
        line = LINES[number // len(PALETTE) % len(LINES)]
        axes.plot(layers, judged, line, color=color, label=name)
        axes.plot(layers, fitted, ".", color=color)
    log_axis(axes)
    labelled(axes, "layer", "relative squared error of the output")


def _scores(axes, record: dict[str, Any]) -> None:
    others, before = record["others"], record["scores"]["before"]
    name = "Spearman" if "Spearman" in before else next(iter(before))
    for number, plan in enumerate(dict.fromkeys(other["plan"] for other in others)):
        points = sorted((o["ratio"], o["scores"][name]) for o in others if o["plan"] == plan)
        axes.plot(
            *zip(*points, strict=True), f"-{MARKERS[number]}", color=PALETTE[number], label=plan
        )
    axes.axhline(before[name], color=GREY, linestyle="--", label="as it was")
    if name.startswith("perplexity"):
        log_axis(axes)
    labelled(axes, "share of the numbers in linear maps", name)
