"""What `launch.decompose` draws: convergence of every component, and completed images."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deflation import Components, History

SHOWN = 10  # images in the picture of completions


def convergence(history: History, sizes: np.ndarray, errors: np.ndarray | None) -> Figure:
    """Left: change of every component per round, relative to its size. Right: sizes and errors.

    Args:
      history: one row per round; may be empty (the exact answer has no rounds).
      sizes: ||R_k||_F of the result (r,).
      errors: G_k against the exact components (r,), None where they are not known.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    change = np.asarray(history.change) / np.maximum(np.asarray(history.size), 1e-30)
    change = np.where((change > 0) & np.isfinite(change), change, np.nan)
    rank = len(sizes)
    colours = _palette(rank)
    for k in range(rank if len(change) else 0):
        shown = rank <= 10 or k in (0, rank // 2, rank - 1)
        label = f"component {k + 1}" if shown else None
        left.semilogy(np.arange(1, len(change) + 1), change[:, k], color=colours[k], label=label)
    left.set(xlabel="round", ylabel="relative change $\\|R_k-R_k'\\|_F/\\|R_k\\|_F$")
    left.set_title("change of every component")
    if len(change):
        left.legend(fontsize=7, ncols=2)
    else:
        left.text(0.5, 0.5, "no rounds", ha="center", transform=left.transAxes)
    number = np.arange(1, rank + 1)
    _positive(right, number, sizes, "o-", "size $\\|R_k\\|_F$")
    if errors is not None:
        _positive(right, number, errors, "s--", "error $G_k$ against the exact component")
    right.set(xlabel="component", ylabel="size (units of Y) and relative error")
    right.set_title("components of the result")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend(fontsize=8)
    return figure


def completions(components: Components, upper: np.ndarray, lower: np.ndarray) -> Figure:
    """Rows: the true images, and the lower half predicted from the upper half by growing prefixes.

    Args:
      components: map from upper to lower pixels.
      upper, lower: pixels of the halves (d, n) and (m, n), values in [0, 1].
    """
    rank = components.b.shape[0]
    ranks = sorted({1, 2, max(2, rank // 2), rank} & set(range(1, rank + 1)))
    rows = [("true", lower[:, :SHOWN])]
    for r in ranks:
        predicted = np.asarray(components.prefix(r).predict(upper[:, :SHOWN]))
        rows.append((f"rank {r}", predicted))
    figure = Figure(figsize=(SHOWN * 0.9, len(rows) * 1.05 + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), SHOWN, squeeze=False)
    for line, (name, halves) in zip(axes, rows, strict=True):
        for i, axis in enumerate(line):
            image = np.concatenate([upper[:, i], halves[:, i]]).reshape(-1, 8)
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axis.axhline(3.5, color="tab:red", linewidth=0.8)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    figure.suptitle("lower half predicted from the upper half (below the line)", fontsize=10)
    return figure


def _palette(count: int):
    return colormaps["viridis"](np.linspace(0, 0.9, max(count, 1)))


def _positive(axis, x, y, style, label):
    y = np.where(np.asarray(y) > 0, y, np.nan)
    if np.isfinite(y).any():
        axis.semilogy(x, y, style, label=label)
