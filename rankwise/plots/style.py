"""One look for all figures: fonts, a palette that colour-blind readers can tell apart.

Figures are `matplotlib.figure.Figure` objects, never pyplot's: importing or drawing changes no
global state and needs no display.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

# Okabe and Ito (2008), without yellow, which is too light for lines on white.
BLUE, RED, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
PALETTE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
GREY = "#7F7F7F"
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NO_TICKS = NullLocator()
POINTS = 400  # of a curve; more cannot be seen and make vector files large

RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "figure.titlesize": 11,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "savefig.dpi": 150,
    "svg.hashsalt": "rankwise",  # the same figure is the same file
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """`draw` with the shared look, whatever the caller's settings are."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def panels(rows: int, columns: int, title: str, *, size=(3.6, 2.9), **kwargs):
    """A figure and its axes, an object array (rows, columns); size (width, height) per panel."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    figure.suptitle(title)
    return figure, axes


def finding(figure: Figure, text: str, size: float = 8.5) -> None:
    """What the data of this very figure say, below the panels."""
    figure.supxlabel(text, fontsize=size, color="#333333")


def labelled(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Names both axes."""
    axes.set(xlabel=x, ylabel=y, title=title)


def log_axis(axes: Axes, which: str = "y") -> None:
    """A logarithmic axis with readable ticks, also where it spans less than two decades."""
    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        low, high = sorted(axis.get_view_interval())
        if high < 100 * low:
            subs = (1, 2, 5) if high > 5 * low else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
            axis.set_major_locator(LogLocator(subs=subs, numticks=30))
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())


def band(axes: Axes, x, runs, color: str, label: str | None = None, *, log=True, **kwargs) -> None:
    """Mean over runs (N, points) with a band of one standard deviation.

    On a logarithmic axis the lower edge is mean/(1 + std/mean), which is mean - std to first order
    and never reaches zero.
    """
    x, runs = np.asarray(x), np.asarray(runs, float)
    keep = thinned(x.shape[0])
    x, runs = x[keep], runs[:, keep]
    mean, std = runs.mean(axis=0), runs.std(axis=0)
    # (mean + std > 0 unless all runs are zero, and then so is the edge.)
    low = mean**2 / np.where(mean + std > 0, mean + std, 1) if log else mean - std
    axes.plot(x, mean, color=color, label=label, **kwargs)
    axes.fill_between(x, low, mean + std, color=color, alpha=0.18, linewidth=0)


def thinned(count: int) -> np.ndarray:
    """Indices of at most `POINTS` points, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))


def legend_below(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """One legend for all panels, from the labels of one, at the lower edge."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), 7)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, title=title)


def legend_on_top(axes: Axes) -> None:
    """A legend inside a logarithmic panel, above its curves."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.3)
    axes.legend(loc="upper left", ncols=3 if len(axes.get_legend_handles_labels()[0]) > 4 else 2)


def numbers(values: Sequence[float]) -> list[str]:
    """Short texts of numbers for legends."""
    return [f"{float(value):g}" for value in values]
