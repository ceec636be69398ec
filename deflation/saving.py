"""A run on disk: one .npz file that holds the progress, not the problem.

The file can be loaded on another number of devices. It names the plan it belongs to, and loading it
into another plan, or loading a file that is cut short, is refused with one line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zlib

import jax
import numpy as np

from deflation.growth import ExplainedEnergy
from deflation.problem.components import Components
from deflation.rounds.state import History, Progress, State
from rankwise import checks
from rankwise.devices import place, whole
from rankwise.files import replacing

# 1 had no past, 2 no earlier moves and no sizes; 3 differs in its description alone, see `_as_now`.
FORMAT = 4
NEXT = 1 << 14  # floating-point numbers on either side of a square that may be the energy
NAMES = ("moved", "earlier", "sizes", "done", "spent", "active", "round", "past_active")


def save(path: str | os.PathLike, state: State) -> None:
    """Writes the progress of a run to `path` (.npz), whole or not at all.

    A kill in the middle leaves the old file as it was.

    Raises:
      ValueError: a path that cannot be written, or an M whose rows are cut over several processes.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> from deflation import Regression, advance, load, save, start
      >>> state = start(Regression.from_matrix(jnp.eye(3)), rank=2)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(folder + "/run.npz", advance(state, 2))
      ...     int(load(folder + "/run.npz", state).progress.round)
      2
    """
    path = _path(path)
    checks.instance("state", state, State, "a State, as start returns it")
    progress = state.progress
    arrays = {
        "b": progress.factors.b,
        "a": progress.factors.a,
        "past_b": progress.past.b,
        "past_a": progress.past.a,
        **{name: getattr(progress, name) for name in NAMES},
        "key": jax.random.key_data(progress.key),
        "change": state.history.change,
        "size": state.history.size,
    }
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    description = json.dumps(_description(state))
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, description=np.asarray(description), **arrays)
    except OSError as error:
        raise ValueError(
            f"path is {str(path)!r}, which cannot be written: {error.strerror}"
        ) from None


def load(path: str | os.PathLike, state: State) -> State:
    """`state`, made by `start` with the same problem and options, at the progress saved in `path`.

    Args:
      path: a file written by `save`.
      state: a fresh state; its mesh may have another number of devices.

    Files of earlier versions that hold all of the progress (format 3 on) are read too.

    Raises:
      ValueError: a missing, truncated or foreign file, or one of another problem or other options;
        the message names what differs.
    """
    path = _path(path)
    checks.instance("state", state, State, "a State, as start returns it")
    saved, arrays = _read(path)
    expected = _description(state)
    if saved.get("format") == 3:
        saved = _as_now(saved, state, expected)
    for name, value in expected.items():
        if saved.get(name) != value:
            raise ValueError(
                f"path is {str(path)!r}, a run with {name} {saved.get(name)!r}; "
                f"allowed here is {value!r}"
            )
    like = state.progress
    try:
        progress = Progress(
            factors=Components(arrays["b"], arrays["a"]),
            past=Components(arrays["past_b"], arrays["past_a"]),
            key=jax.random.wrap_key_data(arrays["key"], impl=jax.random.key_impl(like.key)),
            **{name: arrays[name] for name in NAMES},
        )
        history = History(arrays["change"], arrays["size"])
        fits = jax.tree.map(lambda x, y: x.shape == y.shape, (progress,), (like,))
        rounds = int(progress.round)
        whole = all(rows.shape == (rounds, state.plan.rank) for rows in history)
    except (KeyError, TypeError, ValueError):
        raise _damaged(path) from None
    if not (all(jax.tree.leaves(fits)) and whole):
        raise _damaged(path)

    # On the devices of the fresh state: replicated over its mesh if it has one.
    placed = jax.tree.map(lambda value, leaf: place(value, leaf.sharding), progress, like)
    return dataclasses.replace(state, progress=placed, history=history)


def _read(path: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Description and arrays of a file; whatever is wrong with its bytes is one line."""
    try:
        # Opened here: np.load does not close a file that it cannot make sense of.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            arrays = {name: file[name] for name in file.files}
        saved = json.loads(str(arrays.pop("description")))
    except FileNotFoundError:
        raise ValueError(f"path is {str(path)!r}; there is no such file") from None
    except Exception:  # the zip, zlib, npy and json readers raise more than a dozen kinds
        raise _damaged(path) from None
    if not isinstance(saved, dict):
        raise _damaged(path)
    return saved, arrays


def _damaged(path: pathlib.Path) -> ValueError:
    return ValueError(f"path is {str(path)!r}, which is truncated or not a saved run")


def _path(path) -> pathlib.Path:
    checks.instance("path", path, str | os.PathLike, "a file name")
    return pathlib.Path(path)


def _pieces(leaf) -> list:
    """The array in pieces in the order of its rows, which are all that is ever cut.

    The whole of an array that was cut may be too large for one place.

    Raises:
      ValueError: other processes have some of them.
    """
    if not whole(leaf):
        raise ValueError(
            f"state is of an M {leaf.shape} whose rows are cut over several processes; allowed to "
            "be saved or loaded is one that every process has all rows of"
        )
    if not isinstance(leaf, jax.Array) or leaf.is_fully_replicated or leaf.ndim != 2:
        return [leaf]
    if any(shard.index[1] != slice(None) for shard in leaf.addressable_shards):
        return [leaf]
    pieces = {shard.index[0].start or 0: shard.data for shard in leaf.addressable_shards}
    return [pieces[start] for start in sorted(pieces)]


def _digest(leaves, digest: int = 0) -> int:
    """CRC-32 of the bytes of arrays, going on from `digest`."""
    for leaf in jax.tree.leaves(leaves):
        for rows in _pieces(leaf):
            digest = zlib.crc32(np.asarray(rows).tobytes(), digest)
    return digest


def _as_now(saved: dict, state: State, expected: dict) -> dict:
    """The description of a file of format 3 in the terms of today.

    There the digest of the problem had its energy ||Y (I - P_X)||_F^2 in place of the root, summed
    in another order, so that its last bits are not known: one of the numbers next to the square has
    to give the digest. What `explained_energy` has to reach was a square as well.
    """
    now = saved | {"format": FORMAT}
    problem, rule = state.problem, state.controls.stop.grow
    kind = np.dtype(problem.dtype)
    with np.errstate(over="ignore", under="ignore"):
        square = np.square(np.asarray(problem.unexplained, kind))
    bits = square.view(f"i{kind.itemsize}") + np.arange(-NEXT, NEXT + 1)
    energies = bits.astype(f"i{kind.itemsize}").view(kind)
    before = _digest(problem[:3])  # target, whitener, root
    if any(_digest((one, problem.freedom), before) == saved.get("problem") for one in energies):
        now["problem"] = expected["problem"]
    numbers = saved.get("numbers")
    if rule is not None and isinstance(numbers, list) and numbers:
        squared = isinstance(rule, ExplainedEnergy)
        threshold = np.sqrt(numbers[-1]) if squared else numbers[-1]
        if np.isclose(threshold, expected["numbers"][-1], rtol=1e-4):
            now["numbers"] = numbers[:-1] + expected["numbers"][-1:]
    return now


def _description(state: State) -> dict:
    """Whatever changes the answer. Devices do not: they may be others in every portion."""
    plan, controls = state.plan, state.controls
    stop = controls.stop
    numbers = (state.solver, stop.tolerance, controls.steps, stop.grow, controls.threshold)
    return {
        "format": FORMAT,
        "way": plan.way,
        "rank": plan.rank,
        "passes_on": "online" if plan.online else plan.passes_on,
        "tolerance_of": stop.tolerance_of,
        **dataclasses.asdict(plan.publish),
        **dataclasses.asdict(plan.extensions),
        "shape": list(state.problem.shape),
        "dtype": str(np.dtype(state.problem.dtype)),
        "solver": type(state.solver).__name__ + str(jax.tree.structure(state.solver)),
        "numbers": [np.asarray(number).tolist() for number in jax.tree.leaves(numbers)],
        "problem": _digest(state.problem),
        "key": str(jax.random.key_impl(state.progress.key)),
    }
