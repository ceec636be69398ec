"""A folder that appears at once and whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from safetensors import SafetensorError


@contextlib.contextmanager
def new_folder(target: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary folder beside `target`, which gets that name when the block ends well.

    The folders above it are made. After an exception nothing of it is left.

    Raises:
      ValueError: `target` exists, or its place cannot be written.

    Example:
      >>> with new_folder("adapters/cola") as folder:  # doctest: +SKIP
      ...     (folder / "README.md").write_text("...")
    """
    target = pathlib.Path(target)
    require_new(target)
    target = target.absolute()
    # Not tempfile: its folders are closed to all but their owner, and stay so after the move.
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
    except OSError as error:
        raise ValueError(f"{target} cannot be written: {error.strerror}") from None
    try:
        try:
            yield part
        except SafetensorError as error:  # its words for a full disk, from another language
            raise OSError(f"{target} cannot be written: {error}") from None
        for file in part.iterdir():
            _flush(file)
        require_new(target)  # again: the block may have taken a while
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _flush(target.parent)


def require_new(target: str | os.PathLike) -> None:
    """Raises a ValueError if `target` exists."""
    if os.path.lexists(target):
        raise ValueError(f"{target} exists; nothing is overwritten, choose another folder")


def _flush(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
