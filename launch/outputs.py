"""What a run leaves behind: config.json, metrics.jsonl, result.json, and tables as JSON.

Whole files are written beside their place and moved there, so that a reader, or a run that was
killed, never sees half of one. Lines of metrics.jsonl are flushed one by one.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import pathlib
from typing import Any

import jax
import numpy as np

from deflation.replacing import replacing


def to_json(value: Any) -> Any:
    """`value` in terms of JSON: records become objects, arrays lists, NaN and infinities null.

    Raises:
      TypeError: for a value that has no such form.

    Example:
      >>> to_json({"tightness": float("inf"), "errors": np.zeros(2)})
      {'tightness': None, 'errors': [0.0, 0.0]}
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return to_json(np.asarray(value).tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return to_json(value._asdict())
    if isinstance(value, dict):
        return {str(name): to_json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    raise TypeError(f"a {type(value).__name__} has no JSON form: {value!r}")


def require_writable(path: str | os.PathLike | None) -> None:
    """Finds out before a long run what would otherwise fail after it; None needs no file.

    Raises:
      OSError: if `path` is a folder, or no file can be made beside it.
    """
    if path is None:
        return
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a file name is needed")
    if _is_special(path):
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    trial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        trial.open("w").close()
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error
    trial.unlink()


def write_json(path: str | os.PathLike | None, value: Any) -> None:
    """Writes `to_json(value)` to `path`, at once or not at all; None is a file nobody asked for.

    Raises:
      OSError: if the file cannot be written.
    """
    if path is None:
        return
    text = json.dumps(to_json(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    path = pathlib.Path(path)
    if _is_special(path):
        path.write_text(text, encoding="utf-8")
        return
    write_text(path, text)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file in UTF-8, at once or not at all.

    Raises:
      OSError: if it cannot be written.
    """
    # Resolved: a link keeps pointing to what it pointed to.
    with replacing(pathlib.Path(path).resolve()) as part:
        part.write_text(text, encoding="utf-8")


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
        if self.folder is None:
            return
        line = json.dumps(to_json(record), allow_nan=False, ensure_ascii=False) + "\n"
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def result(self, value: Any) -> None:
        """Writes result.json, which marks the run as finished."""
        if self.folder is not None:
            write_json(self.folder / "result.json", value)


def _is_special(path: pathlib.Path) -> bool:
    """A device or a pipe (/dev/stdout): it is written to, and cannot be replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _whole_lines(path: pathlib.Path) -> str:
    """The content up to its last line end: a kill may have cut the last line short."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1].decode()
