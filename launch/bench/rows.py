"""A row of `launch.benchmark`: what every suite returns a list of."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    "suite",
    "case",
    "ours",
    "competitor",
    "seconds_ours",
    "seconds_competitor",
    "error_ours",
    "error_competitor",
    "ratio",
)

BOUND, BOUND_SECONDS = "bound", "bound_seconds"
Pair = tuple[float | None, float | None]


def record(
    suite: str, case: str, names: tuple[str, str], seconds: Pair, errors: Pair, **more: Any
) -> dict[str, Any]:
    """The `COLUMNS`, and `more` behind them; of each pair ours is the first.

    The ratio is the competitor's time over ours, None where one of them has none.

    Example:
      >>> record("made", "a case", ("ours", "theirs"), (1.0, 3.0), (0.0, 0.0))["ratio"]
      3.0
    """
    own, reference = seconds
    ratio = None if None in seconds else reference / own
    return dict(zip(COLUMNS, (suite, case, *names, *seconds, *errors, ratio), strict=True)) | more


def bounded(name: str, seconds: float) -> dict[str, Any]:
    """More of a row: what is known to be part of our seconds, or the least that they can be.

    Example:
      >>> bounded("reading", 0.5)
      {'bound': 'reading', 'bound_seconds': 0.5}
    """
    return {BOUND: name, BOUND_SECONDS: seconds}
