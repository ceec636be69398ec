"""What several tasks say of a method together: its average, its place, what it wins and loses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finetune.tasks import metrics

HEADER = ("method", "tasks", "average", "place", "first", "better", "even", "worse", "minutes")
LEGEND = (
    "average: of the scores of all tasks; place: mean over tasks of the place by score, ties "
    "shared; first: tasks with no better method; better, even, worse: tasks whose difference to "
    "{reference} has a 95% interval above 0, around it, and below; minutes: of a run of each task."
)


def standings(rows: Sequence[tuple]) -> list[tuple]:
    """A row per method with a score on every task, best place first; columns as in `LEGEND`.

    Args:
      rows: of `launch.comparing.table.rows`.

    Returns:
      [] for fewer than two tasks. A difference without an interval counts nowhere; a metric of
      which less is better counts the other way round, and leaves the average out (None).

    Example:
      >>> def row(*start):
      ...     task, method, score, gap, half = (*start, None, None)[:5]
      ...     return (task, method, "accuracy", score, 0, gap, half, 3, 0.5, 1e-3, 9, 1.0, 2.0, "")
      >>> rows = [row("x", "lora", 0.5), row("x", "dora", 0.75, 0.25, 0.1)]
      >>> rows += [row("y", "lora", 0.5), row("y", "dora", 0.5, 0.0, 0.1)]
      >>> [line[:8] for line in standings(rows)]  # doctest: +NORMALIZE_WHITESPACE
      [('dora', 2, 0.625, 1.25, 2, 1, 1, 0), ('lora', 2, 0.5, 1.75, 1, 0, 0, 0)]
    """
    tasks = list(dict.fromkeys(row[0] for row in rows))
    by_method: dict[str, list[tuple]] = {}
    for row in rows:
        if row[3] is not None:
            by_method.setdefault(row[1], []).append(row)
    whole = {name: own for name, own in by_method.items() if len(own) == len(tasks)}
    if len(tasks) < 2:
        return []
    gains = np.array([[metrics.gain(row[2], row[3]) for row in own] for own in whole.values()])
    from scipy.stats import rankdata  # takes a second, which a --help need not

    places = rankdata(-gains, axis=0) if len(gains) else gains
    firsts = rankdata(-gains, axis=0, method="min") == 1 if len(gains) else gains
    lines = []
    for place, first, (name, own) in zip(places, firsts, whole.items(), strict=True):
        sides = [side for row in own if (side := _side(row)) is not None]
        mixed = len({metrics.gain(row[2], 1.0) for row in own}) > 1 or own[0][2] in metrics.LOWER
        minutes = [row[12] for row in own if row[12] is not None]
        lines.append(
            (
                *(name, len(own), None if mixed else float(np.mean([row[3] for row in own]))),
                *(float(place.mean()), int(first.sum())),
                *(sides.count(side) for side in (1, 0, -1)),
                float(np.sum(minutes)) if minutes else None,
            )
        )
    return sorted(lines, key=lambda line: line[3])


def _side(row: tuple) -> int | None:
    """1, 0 or -1: the difference is above noise, within it, or below; None if that is unknown."""
    gap, half = row[5], row[6]
    if gap is None or half is None:
        return None
    return 0 if abs(gap) <= half else int(np.sign(metrics.gain(row[2], gap)))
