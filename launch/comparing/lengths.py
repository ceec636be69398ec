"""What has to be said of a comparison whose runs did not all see as much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SEEN = {"steps": "steps", "batch_size": "rows a step"}


def notes(records: Sequence[dict[str, Any]]) -> list[str]:
    """A line for every task whose methods differ in their steps or in the rows of a step.

    Methods may have their own recipes, and a joined table its runs from anywhere; a difference of
    scores is then one of more than methods. What an older record does not say is not compared.

    Example:
      >>> runs = [{"task": "rte", "recipe": name, "steps": n} for name, n in (("a", 9), ("b", 20))]
      >>> notes(runs)
      ['rte: not as much training for all: steps 9 (a), 20 (b)']
    """
    lines = []
    for task in dict.fromkeys(record["task"] for record in records):
        own = [record for record in records if record["task"] == task]
        for name, words in SEEN.items():
            found: dict[int, dict[str, None]] = {}
            for record in own:
                if record.get(name) is not None:
                    found.setdefault(record[name], {})[record["recipe"]] = None
            if len(found) > 1:
                each = ", ".join(f"{value} ({', '.join(who)})" for value, who in found.items())
                lines.append(f"{task}: not as much training for all: {words} {each}")
    return lines
