"""What `launch.train` draws at the end: loss and score over the steps, ranks as a heat map."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from finetune.training.metrics import rank_table

Records = list[dict[str, Any]]


def curves(records: Records, metric: str, majority: float) -> Figure:
    """Left: training loss of single batches. Right: score, with the majority class as a line."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = [(r["step"], r["loss"]) for r in records if r.get("loss") is not None]
    left.plot(*_columns(losses), linewidth=0.8)
    left.set(xlabel="step", ylabel="loss of one batch", yscale="log")
    scores = [(r["step"], r["score"]) for r in records if "score" in r]
    right.plot(*_columns(scores), "o-", markersize=3, label=metric)
    right.axhline(majority, linestyle="--", color="gray", label="majority class")
    right.set(xlabel="step", ylabel=metric)
    right.legend(fontsize=8)
    return figure


def rank_map(records: Records, steps: int) -> Figure | None:
    """Ranks over the run, a row per module; None if all are one number, and nothing to see."""
    times, paths, table = rank_table(records)
    if not paths or table.min() == table.max():
        return None
    most = max(int(table.max()), 1)
    figure = Figure(figsize=(9, 1.6 + 0.22 * len(paths)), layout="constrained")
    axis = figure.subplots()
    edges = np.append(times, max(steps, times[-1] + 1))
    norm = BoundaryNorm(np.arange(most + 2) - 0.5, 256)
    image = axis.pcolormesh(edges, np.arange(len(paths) + 1), table.T, cmap="viridis", norm=norm)
    axis.set_yticks(np.arange(len(paths)) + 0.5, paths, fontsize=7)
    axis.invert_yaxis()
    axis.set(xlabel="step", title="rank of every module")
    figure.colorbar(image, ticks=range(most + 1))
    return figure


def _columns(pairs):
    return tuple(zip(*pairs, strict=True)) if pairs else ((), ())
