"""The picture of the decompose suite: error against time, and cost against size."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from launch.bench.decompose_methods import COMPETITORS

QUESTION = "residual 1e-3"
OURS = "decompose, sum"  # as the question is about a residual
# Of ours, who is not asked for the error of a panel.
OTHERS = ("decompose, components",), (OURS,)
FLOOR = 1e-8  # an error of rounding, or below the best one by it, is drawn here


def draw(rows: list[dict], points: dict) -> Figure:
    """Above, one panel per kind of error of the largest made matrix: every setting measured.
    Below, seconds to a residual within 1e-3 (the median over spectra) by the number of entries at
    one rank, and by the rank at one size; those of which there are most, the largest of these.

    Args:
      rows: as `decompose_suite.run` returns them.
      points: by case and method.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    largest = max(filter(_is_made, rows), key=lambda row: row["entries"] * row["rank"])
    name = largest["matrix"]
    for axis, which, label in (
        (axes[0, 0], 0, "excess of the residual"),
        (axes[0, 1], 1, "largest component error $G_k$"),
    ):
        for method, measured in points[name].items():
            if method in OTHERS[which]:
                continue
            times = [point.seconds for point in measured]
            errors = [max(point.errors[which], FLOOR) for point in measured]
            axis.loglog(times, errors, label=method, **_style(method))
        axis.set(xlabel="seconds", ylabel=label, title=name)
    cost = costs(rows)
    shapes = Counter(shape for method in cost.values() for shape in method)
    rank, most = _commonest(r for _, r in shapes), _commonest(n for n, _ in shapes)
    for method, seconds in cost.items():
        style = _style(method)
        by_entries = sorted((n, t) for (n, r), t in seconds.items() if r == rank)
        by_rank = sorted((r, t) for (n, r), t in seconds.items() if n == most)
        for axis, pairs in ((axes[1, 0], by_entries), (axes[1, 1], by_rank)):
            if pairs:
                axis.loglog(*zip(*pairs, strict=True), label=method, **style)
    axes[1, 0].set(xlabel="entries of the matrix", title=f"{QUESTION}, r = {rank}")
    axes[1, 1].set(xlabel="rank", title=f"{QUESTION}, {most} entries")
    ranks = sorted(r for n, r in shapes if n == most)
    axes[1, 1].set_xticks(ranks, [str(r) for r in ranks])
    axes[1, 1].xaxis.set_minor_formatter(NullFormatter())  # few ranks, all of them named
    for seconds in (axes[0, 0].xaxis, axes[0, 1].xaxis, axes[1, 0].yaxis, axes[1, 1].yaxis):
        # The usual labels between powers of ten are too long to stand side by side.
        seconds.set_major_locator(LogLocator(subs=(1, 3)))
        seconds.set_major_formatter("{x:g}")
        seconds.set_minor_formatter(NullFormatter())
    for axis in axes[1]:
        axis.set_ylabel("seconds")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=4)
    return figure


def costs(rows: list[dict]) -> dict[str, dict[tuple[int, int], float]]:
    """Of every method, seconds by (entries, rank): the median over the spectra that it managed."""
    times = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if not _is_made(row) or row["question"] != QUESTION:
            continue
        pairs = {OURS: row["seconds_ours"], row["competitor"]: row["seconds_competitor"]}
        for method, seconds in pairs.items():
            if seconds is not None:
                times[method][row["entries"], row["rank"]][row["matrix"]] = seconds
    return {
        method: {
            size: statistics.median(of_spectrum.values()) for size, of_spectrum in sizes.items()
        }
        for method, sizes in times.items()
    }


def _is_made(row: dict) -> bool:
    return row.get("spectrum") is not None  # of a real matrix there is none, nor of a rate


def _commonest(values) -> int | None:
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value), default=None)


def _style(method: str) -> dict:
    """The same colour in every panel; ours black and thick."""
    ours = method not in COMPETITORS
    colour = "black" if ours else f"C{list(COMPETITORS).index(method)}"
    return {"color": colour, "marker": "o", "markersize": 3, "linewidth": 2.5 if ours else 1.2}
