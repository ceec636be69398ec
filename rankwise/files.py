"""Files that are written whole or not at all, and JSON.

A whole file is written beside its place and moved there, so that a reader, or a run that was
killed, never sees half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


@contextlib.contextmanager
def replacing(target: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A path beside `target`; the file made there takes its place when the block ends well.

    What fails (a full disk, a kill) leaves `target` as it was. The file is on disk, and not only
    in memory, before it takes the place of another.

    Raises:
      OSError: from the block or the move; one without a file name gets that of `target`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "numbers.txt")
      ...     with replacing(path) as part:
      ...         _ = part.write_text("1 2 3")
      ...     path.read_text()
      '1 2 3'
    """
    target = pathlib.Path(target)
    # Not tempfile: its files are readable by their owner alone, and stay so after the move. The
    # ending stays: some writers choose the format by it.
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        # A failed write, unlike a failed open, does not say of which file.
        if error.filename in (None, str(part)) and error.errno is not None:
            error.filename = str(target)
        raise
    finally:
        with contextlib.suppress(OSError):  # gone after a success, or never made
            part.unlink()


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


def json_line(value: Any) -> str:
    """`to_json(value)` as one line of a file of records.

    Example:
      >>> json_line({"step": 1, "loss": float("nan")})
      '{"step": 1, "loss": null}\\n'
    """
    return json.dumps(to_json(value), allow_nan=False, ensure_ascii=False) + "\n"


def append_json_line(path: str | os.PathLike, value: Any) -> None:
    """Adds `json_line(value)` to a file, made if it is missing, and closes it.

    Raises:
      OSError: if it cannot be written.
    """
    with pathlib.Path(path).open("a", encoding="utf-8") as file:
        file.write(json_line(value))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file in UTF-8, at once or not at all.

    Raises:
      OSError: if it cannot be written.
    """
    # Resolved: a link keeps pointing to what it pointed to.
    with replacing(pathlib.Path(path).resolve()) as part:
        part.write_text(text, encoding="utf-8")


def _is_special(path: pathlib.Path) -> bool:
    """A device or a pipe (/dev/stdout): it is written to, and cannot be replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()
