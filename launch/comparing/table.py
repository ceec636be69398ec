"""The table of `launch.compare`: what each method reached on each task, and at what cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from rankwise.intervals import mean_interval

HEADER = (
    "task",
    "method",
    "metric",
    "score",
    "spread",
    "difference",
    "interval",
    "seeds",
    "majority",
    "rate",
    "parameters",
    "MiB",
    "minutes",
    "edge",
)
LEGEND = (
    "score: mean over seeds of the last evaluation; spread: standard deviation over seeds; "
    "difference: to {reference} at the same seeds, with the half width of its 95% interval (t); "
    "parameters: of the adapter, heads not counted; MiB: arrays of a training step by the "
    "compiler's count; minutes: of one run, compilation and evaluations included; "
    "edge: the best rate is the smallest or largest tried, and a better one may lie beyond it."
)
Record = dict[str, Any]


def rows(records: Sequence[Record]) -> list[tuple]:
    """A row per task and recipe, in the order of the records; columns as in `LEGEND`.

    A recipe of which no seed has a score (its runs diverged) has None there.
    """
    cells: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        cells.setdefault((record["task"], record["recipe"]), []).append(record)
    first = dict(reversed(cells))
    return [_row(*key, runs, cells[key[0], first[key[0]]]) for key, runs in cells.items()]


def paired(runs: Sequence[Record], reference: Sequence[Record]) -> tuple[float | None, ...]:
    """Mean difference of the scores at the same seeds, and the half width of its interval.

    The interval is Student's; None for what too few seeds leave unknown.

    Example:
      >>> ours = [{"seed": s, "score": 0.5 + 0.25 * s} for s in range(3)]
      >>> theirs = [{"seed": s, "score": 0.25 * s} for s in range(3)]
      >>> [round(number, 12) for number in paired(ours, theirs)]
      [0.5, 0.0]
    """
    there = {record["seed"]: record["score"] for record in reference}
    both = [(r["score"], there.get(r["seed"])) for r in runs]
    return mean_interval([x - y for x, y in both if x is not None and y is not None])


def markdown(lines: Sequence[Sequence[Any]], header: Sequence[str] = HEADER) -> str:
    """Rows as a Markdown table.

    Example:
      >>> print(markdown([("lora", 0.5)], ("method", "score")))
      | method | score |
      | --- | --- |
      | lora | 0.500 |
      <BLANKLINE>
    """
    text = [header, ["---"] * len(header), *([_cell(v) for v in line] for line in lines)]
    return "".join("| " + " | ".join(line) + " |\n" for line in text)


def comma_separated(lines: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV with all digits; what is not known is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([HEADER, *lines])
    return file.getvalue()


def _row(task: str, recipe: str, runs: list[Record], reference: list[Record]) -> tuple:
    scores = [record["score"] for record in runs if record["score"] is not None]
    same = runs is reference
    return (
        task,
        recipe,
        runs[0]["metric"],
        float(np.mean(scores)) if scores else None,
        float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        *((None, None) if same else paired(runs, reference)),
        len(scores),
        runs[0]["majority"],
        runs[0].get("rate"),
        _mean(runs, "trainable_parameters", int),
        _mean(runs, "step_bytes", lambda mean: mean / 2**20),
        _mean(runs, "seconds", lambda mean: mean / 60),
        runs[0].get("rate_at_edge"),
    )


def _mean(runs: list[Record], name: str, then) -> Any:
    values = [record[name] for record in runs if record.get(name) is not None]
    return then(float(np.mean(values))) if values else None


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.1e}"
    return str(value)
