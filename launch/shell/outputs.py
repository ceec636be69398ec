"""What a run leaves behind: config.json, metrics.jsonl, result.json, and tables as JSON.

Whole files are written beside their place and moved there, so that a reader, or a run that was
killed, never sees half of one. Lines of metrics.jsonl are flushed one by one.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from rankwise.files import append_json_line, write_json, write_text


class Workdir:
    """The files of one run in its folder; every method does nothing when there is no folder.

    `config.json` is written at the start, `metrics.jsonl` grows by a line per `metric`, and
    `result.json` exists once the run has finished.

    Args:
      folder: made if missing; None for a run that leaves nothing.
      config: what the run was asked to do.
      resume: keep the metrics of an earlier run and add to them.

    Raises:
      OSError: if the folder or its files cannot be written.
    """

    def __init__(self, folder: str | os.PathLike | None, config: Any, resume: bool = False):
        self.folder = None if folder is None else pathlib.Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "config.json", config)
        # A result of an earlier run would look as if this one had finished.
        (self.folder / "result.json").unlink(missing_ok=True)
        metrics = self.folder / "metrics.jsonl"
        write_text(metrics, _whole_lines(metrics) if resume else "")

    def metric(self, record: Any) -> None:
        """Adds one line to metrics.jsonl."""
        if self.folder is not None:
            append_json_line(self.folder / "metrics.jsonl", record)

    def result(self, value: Any) -> None:
        """Writes result.json, which marks the run as finished."""
        if self.folder is not None:
            write_json(self.folder / "result.json", value)


def _whole_lines(path: pathlib.Path) -> str:
    """The content up to its last line end: a kill may have cut the last line short."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1].decode()
