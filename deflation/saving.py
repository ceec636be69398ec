"""A run on disk: one .npz file that holds the progress, not the problem.

The file can be loaded on another number of devices. It names the plan it belongs to, and loading it
into another plan, or loading a file that is cut short, is refused with one line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import tempfile
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from deflation.components import Components
from deflation.state import History, Progress, State
from deflation.targets import Operator

FORMAT = 1


def save(path: str | os.PathLike, state: State) -> None:
    """Writes the progress of a run to `path` (.npz), whole or not at all.

    A kill in the middle leaves the old file as it was.

    Raises:
      ValueError: a path that cannot be written.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> from deflation import Regression, advance, load, save, start
      >>> state = start(Regression.from_matrix(jnp.eye(3)), rank=2)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(folder + "/run.npz", advance(state, 2))
      ...     int(load(folder + "/run.npz", state).progress.round)
      2
    """
    path = pathlib.Path(path)
    progress = state.progress
    arrays = {
        "b": progress.factors.b,
        "a": progress.factors.a,
        **{name: getattr(progress, name) for name in ("moved", "done", "spent", "active", "round")},
        "key": jax.random.key_data(progress.key),
        "change": state.history.change,
        "size": state.history.size,
    }
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    description = json.dumps(_description(state))
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    except OSError as error:
        raise ValueError(
            f"path is {str(path)!r}, which cannot be written: {error.strerror}"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, description=np.asarray(description), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike, state: State) -> State:
    """`state`, made by `start` with the same problem and options, at the progress saved in `path`.

    Args:
      path: a file written by `save`.
      state: a fresh state; its mesh may have another number of devices.

    Raises:
      ValueError: a missing, truncated or foreign file, or one of another problem or other options;
        the message names what differs.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        saved = json.loads(str(arrays.pop("description")))
    except FileNotFoundError:
        raise ValueError(f"path is {str(path)!r}; there is no such file") from None
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError):
        raise ValueError(f"path is {str(path)!r}, which is truncated or not a saved run") from None
    expected = _description(state)
    for name, value in expected.items():
        if saved.get(name) != value:
            raise ValueError(
                f"path is {str(path)!r}, a run with {name} {saved.get(name)!r}; "
                f"allowed here is {value!r}"
            )
    progress = Progress(
        factors=Components(arrays.pop("b"), arrays.pop("a")),
        key=jax.random.wrap_key_data(arrays.pop("key")),
        **{name: arrays[name] for name in ("moved", "done", "spent", "active", "round")},
    )
    history = History(jnp.asarray(arrays["change"]), jnp.asarray(arrays["size"]))
    like = state.progress

    def place(value, template):
        # On the devices of the fresh state: replicated over its mesh if it has one.
        return jax.device_put(value, template.sharding)

    progress = jax.tree.map(place, progress, like)
    return dataclasses.replace(state, progress=progress, history=history)


def _description(state: State) -> dict:
    plan = dataclasses.asdict(dataclasses.replace(state.plan, mesh=None))
    # A mesh may change between portions; whatever changes the answer may not.
    kept = {name: value for name, value in plan.items() if name not in ("mesh", "axis")}
    target = state.problem.target
    digest = None if isinstance(target, Operator) else zlib.crc32(np.asarray(target).tobytes())
    numbers = jax.tree.leaves((state.solver, state.controls))
    return {
        "format": FORMAT,
        **kept,
        "shape": list(state.problem.shape),
        "dtype": str(np.dtype(state.problem.dtype)),
        "solver": type(state.solver).__name__ + str(jax.tree.structure(state.solver)),
        "numbers": [np.asarray(number).tolist() for number in numbers],
        "problem": digest,
    }
