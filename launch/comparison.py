"""The table of `launch.compare`: mean and spread of each method on each task."""

from __future__ import annotations

from typing import Any

import numpy as np

HEADER = (
    "task",
    "method",
    "metric",
    "score",
    "spread",
    "seeds",
    "majority",
    "parameters",
    "minutes",
)


def rows(records: list[dict[str, Any]]) -> list[tuple]:
    """A row per task and recipe, in the order of the records.

    score is the mean over seeds of the last evaluation, spread their standard deviation (n - 1;
    None for one seed); parameters (of the adapter) and minutes are means.
    """
    cells: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        cells.setdefault((record["task"], record["recipe"]), []).append(record)
    return [_row(task, recipe, found) for (task, recipe), found in cells.items()]


def markdown(lines: list[tuple]) -> str:
    """The rows as a Markdown table."""
    text = [HEADER, ["---"] * len(HEADER), *([_cell(v) for v in line] for line in lines)]
    return "".join("| " + " | ".join(line) + " |\n" for line in text)


def _row(task: str, recipe: str, found: list[dict]) -> tuple:
    scores = [record["score"] for record in found]
    return (
        task,
        recipe,
        found[0]["metric"],
        float(np.mean(scores)),
        float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        len(scores),
        found[0]["majority"],
        int(np.mean([record["trainable_parameters"] for record in found])),
        float(np.mean([record["seconds"] for record in found])) / 60,
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
