"""The path of a reduced-rank regression as a picture: error by rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def error_by_rank(errors: np.ndarray, rank: int, standard_errors: np.ndarray) -> Figure:
    """Held-out error (ranks 0..q) with a bar of one standard error, and the rank that was taken."""
    from matplotlib.ticker import MaxNLocator

    from rankwise.plots import style

    @style.styled
    def draw():
        figure, axes = style.panels(1, 1, "held-out error by rank", size=(5, 3.2))
        ax = axes[0, 0]
        ranks = np.arange(len(errors))
        ax.errorbar(ranks, errors, standard_errors, fmt="o-", capsize=3, label="± standard error")
        ax.axvline(rank, color=style.RED, linestyle="--", label=f"rank {rank}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.labelled(ax, "rank", "mean squared error per entry")
        ax.legend()
        return figure

    return draw()
