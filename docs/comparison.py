"""Fills the tables of docs/comparison.md from the stored records of launch.compare.

python docs/comparison.py

A table stands between two comments, of which the first names its file in notebooks/06_results. A
test holds the page in the tree against the records.
"""

from __future__ import annotations

import json
import pathlib
import re

from launch.comparing.across import across
from launch.comparing.table import markdown, rows

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "comparison.md"
RECORDS = ROOT / "notebooks" / "06_results"
PLACE = re.compile(r"(<!-- table of (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def filled(text: str) -> str:
    """The page with its tables as the records have them."""

    def table(place: re.Match) -> str:
        records = json.loads((RECORDS / place[2]).read_text(encoding="utf-8"))
        return f"{place[1]}\n{markdown(*across(rows(records)))}\n{place[3]}"

    return PLACE.sub(table, text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
