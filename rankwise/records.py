"""The curves of a run: one JSON object per line, continued exactly where a run resumes."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from rankwise.files import append_json_line, json_line, replacing


class JsonLines:
    """A file of records that count steps; a resumed run drops what it is about to repeat.

    Args:
      path: made or continued.
      upto: keep earlier records up to this step; 0 starts anew.
      count: name of the entry that counts.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     lines = JsonLines(folder + "/metrics.jsonl", upto=0)
      ...     lines.write({"step": 1, "loss": float("nan")})
      ...     read(folder + "/metrics.jsonl")
      [{'step': 1, 'loss': None}]
    """

    def __init__(self, path: str | pathlib.Path, upto: int, count: str = "step"):
        self.path = pathlib.Path(path)
        earlier = read(self.path, upto, count) if upto else []
        with replacing(self.path) as part:
            part.write_text("".join(map(json_line, earlier)), encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        """Adds one line."""
        append_json_line(self.path, record)


def read(
    path: str | pathlib.Path, upto: int | None = None, count: str = "step"
) -> list[dict[str, Any]]:
    """The records up to a step, without a last line that a kill cut short; [] without a file."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if upto is None or record[count] <= upto:
            records.append(record)
    return records
