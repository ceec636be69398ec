"""One writer per folder: two commands in one work directory would tear each other's files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

LOCK = ".lock"
# Of file systems without locks, as some networks mount them.
MISSING = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def one_writer(folder: str | os.PathLike | None, flag: str = "--workdir") -> Iterator[None]:
    """Holds `folder` while the block runs; None holds nothing.

    The folder is made if it is missing, and taken away again if the block leaves nothing in it. The
    lock is the kernel's, so it ends with the process, however that ends.

    Args:
      folder: where the block writes.
      flag: that names the folder, for messages.

    Raises:
      OSError: another process writes there, or the place cannot be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder, one_writer(folder):
      ...     os.listdir(folder)
      ['.lock']
    """
    if folder is None:
        yield
        return
    folder = pathlib.Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(folder / LOCK, f"{flag}={folder}")
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{flag}={folder} is, or lies in, a file; use a folder") from None
    except OSError as error:
        _remove(missing)
        if error.strerror is None:  # our own sentence
            raise
        raise OSError(f"{flag}={folder} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)
        _remove(missing)


def _locked(path: pathlib.Path, name: str) -> int:
    """The open descriptor of a lock file that this process holds."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _taken(descriptor, path):
                return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 100).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise OSError(
                f"{name} is in use by another command (process {holder}); wait until it has ended, "
                "or choose another folder"
            ) from None
        except OSError:  # no room for the line that names us
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        os.close(descriptor)


def _taken(descriptor: int, path: pathlib.Path) -> bool:
    """Locks; False if `path` meanwhile is another file, as the one before took its lock away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Refusing where there are no locks would lock out all who compute there.
        if error.errno not in MISSING:
            raise
    if not path.exists() or path.stat().st_ino != os.fstat(descriptor).st_ino:
        return False
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode())
    return True


def _remove(folders: list[pathlib.Path]) -> None:
    """Takes away those, innermost first, that are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
