"""What a run leaves behind: config.json, metrics.jsonl, result.json, and tables as JSON.

Whole files are written beside their place and moved there, so that a reader, or a run that was
killed, never sees half of one. Lines of metrics.jsonl are flushed one by one.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from rankwise.files import write_json
from rankwise.records import JsonLines


class Workdir:
    """The files of one run in its folder; every method does nothing when there is no folder.

    `config.json` is written at the start, `metrics.jsonl` grows by a line per `metric`, and
    `result.json` exists once the run has finished.

    Args:
      folder: made if missing; None for a run that leaves nothing.
      config: what the run was asked to do.
      upto: keep the metrics of an earlier run up to this step or round, and add to them.
      count: name of the entry of a metric that counts them.

    Raises:
      OSError: if the folder or its files cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        config: Any,
        upto: int = 0,
        count: str = "round",
    ):
        self.folder = None if folder is None else pathlib.Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "config.json", config)
        # A result of an earlier run would look as if this one had finished.
        (self.folder / "result.json").unlink(missing_ok=True)
        self.metrics = JsonLines(self.folder / "metrics.jsonl", upto, count)

    def metric(self, record: Any) -> None:
        """Adds one line to metrics.jsonl."""
        if self.folder is not None:
            self.metrics.write(record)

    def result(self, value: Any) -> None:
        """Writes result.json, which marks the run as finished."""
        if self.folder is not None:
            write_json(self.folder / "result.json", value)
