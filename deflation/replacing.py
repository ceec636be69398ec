"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


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
