"""The records of a training run: its lines, and the ranks among them as a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankwise.records import JsonLines, read

__all__ = ["JsonLines", "rank_table", "read"]


def rank_table(records: list[dict[str, Any]]) -> tuple[list[int], list[str], np.ndarray]:
    """(steps, module paths, ranks (steps, modules)) from the records that have `ranks`."""
    rows = [record for record in records if "ranks" in record]
    paths = list(rows[0]["ranks"]) if rows else []
    table = np.array([[row["ranks"][path] for path in paths] for row in rows], int)
    return [row["step"] for row in rows], paths, table.reshape(len(rows), len(paths))
