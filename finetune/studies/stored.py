"""Arrays of a study that are finished: written whole, and read in place of being measured again."""

from __future__ import annotations

import os
import pathlib
import zipfile

import numpy as np


def read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if it is not there.

    Raises:
      ValueError: a damaged one.
    """
    if not path.exists():
        return None
    try:
        # Opened here: numpy leaves its own file open where it is no archive.
        with path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path} is damaged; remove it to measure it again") from None


def write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes all of them or nothing, in a folder that is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
