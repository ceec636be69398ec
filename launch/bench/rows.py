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
