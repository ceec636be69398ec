"""The picture of the decompose suite: error against time, and cost against size."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

QUESTION = "residual 1e-3"
FLOOR = 1e-8  # an error of rounding, or below the best one by it, is drawn here


def draw(rows: list[dict], points: dict) -> Figure:
    """Left, one panel per kind of error: every setting measured. Right: seconds to a residual
    within 1e-3 by the number of entries of the matrix, all methods.

    Args:
      rows: as `decompose_suite.run` returns them.
      points: by case and method.
    """
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    axes = figure.subplots(1, 3)
    name, methods = list(points.items())[-1]
    for which, label in enumerate(("excess of the residual", "largest component error")):
        for method, found in methods.items():
            times = [point.seconds for point in found]
            errors = [max(point.errors[which], FLOOR) for point in found]
            axes[which].loglog(times, errors, "o-", label=method, markersize=3)
        axes[which].set(xlabel="seconds", ylabel=label, title=name)
    cost: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["case"].endswith(QUESTION):
            size = entries(row["case"])
            for method, seconds in (
                ("deflation", row["seconds_ours"]),
                (row["competitor"], row["seconds_competitor"]),
            ):
                if seconds is not None:
                    cost.setdefault(method, []).append((size, seconds))
    for method, pairs in cost.items():
        axes[2].loglog(*zip(*sorted(pairs), strict=True), "o", label=method, markersize=3)
    axes[2].set(xlabel="entries of the matrix", ylabel="seconds", title=QUESTION)
    axes[2].legend(fontsize=7)
    return figure


def entries(case: str) -> int:
    """The number of entries that the name of a case says, such as "noisy 512 x 64, r = 8"."""
    words = case.split(", r =")[0].split()
    return math.prod(int(word) for word in (words[-3], words[-1]))
