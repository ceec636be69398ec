"""All tasks side by side: a line per method, a column per task, as tables are printed."""

from __future__ import annotations

from collections.abc import Sequence

LEGEND = (
    "score, then the difference to {reference} at the same seeds ± the half width of its 95% "
    "interval; -: not run."
)


def across(rows: Sequence[tuple]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Lines and header, methods and tasks in the order of the rows.

    Args:
      rows: of `launch.comparing.table.rows`.

    Example:
      >>> lora = ("x", "lora", "accuracy", 0.5, 0.1, None, None)
      >>> dora = ("x", "dora", "accuracy", 0.75, 0.1, 0.25, 0.1)
      >>> across([lora, dora])
      ([('lora', '0.500'), ('dora', '0.750 (+0.250 ± 0.100)')], ('method', 'x'))
    """
    tasks = tuple(dict.fromkeys(row[0] for row in rows))
    methods = dict.fromkeys(row[1] for row in rows)
    cells = {row[:2]: _cell(row[3], row[5], row[6]) for row in rows}
    lines = [(name, *(cells.get((task, name), "-") for task in tasks)) for name in methods]
    return lines, ("method", *tasks)


def _cell(score: float | None, gap: float | None, half: float | None) -> str:
    if score is None:
        return "diverged"
    if gap is None:
        return f"{score:.3f}"
    interval = "" if half is None else f" ± {half:.3f}"
    return f"{score:.3f} ({gap:+.3f}{interval})"
