"""Checkpoints of a run in one folder: the state, what it belongs to, and nothing of the base.

A checkpoint is refused, in one line and with nothing changed on disk, if it was cut short, is no
checkpoint of ours, or belongs to another configuration, base model or data.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import pathlib
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from rankwise.devices import fetched

FORMAT = 1
TEMPORARY = "orbax-checkpoint-tmp"
# What a checkpoint takes on disk beside its arrays, generously: of each array, and in all.
PER_ARRAY, AROUND = 2048, 1 << 16
FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


class Restored(NamedTuple):
    """A checkpoint: the state, what was saved beside it, and what it belongs to."""

    state: Any
    extra: dict[str, Any]
    identity: dict[str, Any] = {}  # noqa: RUF012


class Checkpoints:
    """The folder of a run's checkpoints; writing goes on in the background.

    Args:
      folder: made with the first checkpoint.
      identity: what a checkpoint must belong to: name -> JSON value.
      keep: how many of the latest checkpoints stay on disk.
      unless_older: names in `identity` that checkpoints of earlier versions lack, and may lack.
      free: entries of an identity's objects that may differ.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        identity: dict[str, Any],
        keep: int = 2,
        unless_older: Collection[str] = (),
        free: Collection[str] = (),
    ):
        self.folder = pathlib.Path(folder).absolute()
        self._unless_older = frozenset(unless_older)
        self._identity = json.loads(json.dumps({"format": FORMAT, **identity}))
        self._keep, self._free = keep, free
        self._writer = None
        self._pending = None
        self.last: int | None = None  # the latest one that is on disk as a whole

    def restore(self, like: Any) -> Restored | None:
        """The latest checkpoint in the structure of `like`; None if there is none yet.

        Raises:
          ValueError: a damaged or foreign checkpoint, or one that belongs to something else.
        """
        if not self.folder.is_dir():
            return None
        names = [path.name for path in self.folder.iterdir() if TEMPORARY not in path.name]
        steps = sorted(int(name) for name in names if name.isdigit())
        unexpected = sorted(name for name in names if not name.isdigit())
        if unexpected:
            raise ValueError(f"{self.folder / unexpected[0]} is no checkpoint; use another folder")
        if not steps:
            return None
        path = self.folder / str(steps[-1])
        arrays, meta = _read(path)
        for name, value in self._identity.items():
            missing = value if name in self._unless_older else None
            there, here = self._bound(meta["identity"].get(name, missing)), self._bound(value)
            if _as_set(there) != _as_set(here):
                raise ValueError(f"{path} {_difference(name, there, here)}")
        state = _placed(path, arrays, meta["crc"], like)
        self.last = steps[-1]
        return Restored(state, meta["extra"], meta["identity"])

    def _bound(self, value: Any) -> Any:
        """What may not differ of an object."""
        if not isinstance(value, dict):
            return value
        return {name: one for name, one in value.items() if name not in self._free}

    def save(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Begins to write a checkpoint, once the one before is written.

        The state may be overwritten when this returns.

        Raises:
          OSError: no room for it, or the folder cannot be written; checkpoints before it stay.
        """
        # Copies: a view of a buffer would change with the next, donated, step.
        arrays = {name: np.array(fetched(leaf)) for name, leaf in _named(state).items()}
        self._wait()
        _require_room(self.folder, sum(leaf.nbytes + PER_ARRAY for leaf in arrays.values()))
        if self._writer is None:
            logging.getLogger("absl").addFilter(_not_of_orbax)
            policy = ocp.training.preservation_policies.LatestN(self._keep)
            self._writer = ocp.training.Checkpointer(
                self.folder, preservation_policy=policy, cleanup_tmp_directories=True
            )
        meta = {"identity": self._identity, "extra": extra, "crc": _crc(arrays)}
        text = np.frombuffer(json.dumps(meta).encode(), np.uint8).copy()
        content = {"state": arrays, "meta": {"json": text}}
        # Forced: orbax's own policy leaves out a checkpoint when it is busy.
        response = self._writer.save_checkpointables_async(step, content, force=True)
        self._pending = (step, response)

    def _wait(self) -> None:
        if self._pending is not None:
            step, response = self._pending
            self._pending = None
            try:
                response.result()  # raises what went wrong in the background
            except Exception as error:
                for code in FAILURES:
                    if os.strerror(code) in str(error):
                        place = str(self.folder / str(step))
                        raise OSError(code, os.strerror(code), place) from None
                raise
            self.last = step

    def close(self) -> None:
        """Waits until the last checkpoint is on disk."""
        self._wait()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _require_room(folder: pathlib.Path, size: int) -> None:
    """Raises OSError now, rather than in the threads that write, if a checkpoint has no room."""
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / f"0.{TEMPORARY}.{os.getpid()}"  # orbax takes away what is left of it
    allocate = getattr(os, "posix_fallocate", None)  # not on every system
    try:
        with trial.open("wb") as file:
            if allocate is not None:
                allocate(file.fileno(), 0, size + AROUND)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # nor on every file system
            return
        raise OSError(error.errno, os.strerror(error.errno), str(folder)) from None
    finally:
        with contextlib.suppress(OSError):  # never made
            trial.unlink()


def _not_of_orbax(record: logging.LogRecord) -> bool:
    # It logs every failure from each of its threads, with tracebacks, and then raises it.
    return "orbax" not in record.pathname


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        loaded = ocp.load_checkpointables(path)
        return loaded["state"], json.loads(loaded["meta"]["json"].tobytes())
    except Exception as error:  # orbax and tensorstore raise nearly every type for a damaged file
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ValueError(
            f"{path} is damaged or no checkpoint of this program "
            f"({type(error).__name__}: {reason}); remove it to go on from the one before"
        ) from None


def _placed(path, arrays, crc: int, like):
    expected = _named(like)
    shapes = {name: (leaf.shape, np.dtype(leaf.dtype)) for name, leaf in expected.items()}
    stored = {name: (leaf.shape, np.dtype(leaf.dtype)) for name, leaf in arrays.items()}
    if shapes != stored:
        names = sorted(n for n in {*shapes, *stored} if shapes.get(n) != stored.get(n))
        raise ValueError(
            f"{path} has {stored.get(names[0])} for {names[0]}; allowed here is "
            f"{shapes.get(names[0])} ({len(names)} such entries)"
        )
    if _crc(arrays) != crc:
        raise ValueError(f"{path} is damaged: its checksum differs")
    leaves, structure = jax.tree.flatten(like)
    values = [arrays[name] for name in expected]
    return jax.tree.unflatten(structure, map(_like, values, leaves))


def _named(state: Any) -> dict[str, Any]:
    """Name -> leaf, in the order of the tree's leaves; a random key as its data."""
    named = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        named[jax.tree_util.keystr(path)] = jax.random.key_data(leaf) if is_key else leaf
    return named


def _like(value: np.ndarray, leaf: jax.Array) -> jax.Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))
        return jax.device_put(value, leaf.sharding) if leaf.committed else value
    # Only where the fresh state was placed: a committed array would compile the step once more.
    return jax.device_put(value, leaf.sharding if leaf.committed else None)


def _crc(arrays: dict[str, np.ndarray]) -> int:
    crc = 0
    for name in sorted(arrays):
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), crc)
    return crc


def _as_set(value: Any) -> Any:
    """An object without what is not set, which checkpoints of earlier versions may lack."""
    return {name: one for name, one in value.items() if one} if isinstance(value, dict) else value


def _difference(name: str, there: Any, here: Any) -> str:
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted({*there, *here}):
            if (there.get(key) or None) != (here.get(key) or None):
                name, there, here = key, there.get(key), here.get(key)
                break
    return (
        f"belongs to a run with {name} {there!r}; allowed here is {here!r}: "
        "go on with what it began with, or begin in another folder"
    )
