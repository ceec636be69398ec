"""A long solver run in portions: a progress bar, a saved state after each, and resumption."""

from __future__ import annotations

import json
import pathlib
import time
from typing import NamedTuple

import jax
import numpy as np

from deflation import Solution, State, advance, finish, load, save
from deflation.placing import fetched
from launch import app, distributed
from launch.outputs import Workdir, to_json

PORTIONS = 10
SAVED = "run.npz"


class Run(NamedTuple):
    """A finished run: its solution, and the warm seconds of all its portions."""

    solution: Solution
    seconds: float


def same_run(folder: str | None, config, free: tuple[str, ...]) -> bool:
    """Whether `folder` holds an earlier run of this configuration.

    Args:
      folder: the work directory, or None.
      config: the frozen dataclass of flags.
      free: fields that may differ.

    Raises:
      ValueError: the folder holds a run of another configuration; nothing is overwritten.
    """
    path = None if folder is None else pathlib.Path(folder) / "config.json"
    if path is None or not path.exists():
        return False
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is not a configuration; choose another --workdir") from None
    there = earlier if isinstance(earlier, dict) else {}
    asked = {name: value for name, value in to_json(config).items() if name not in free}
    other = {name: there.get(name) for name in asked if there.get(name) != asked[name]}
    if other:
        flags = "; ".join(f"--{name}={value}, not {asked[name]}" for name, value in other.items())
        raise ValueError(
            f"{folder} holds a run with {flags}; repeat its flags to go on with it, or choose "
            "another --workdir"
        )
    return True


def run(state: State, rounds: int, workdir: Workdir, earlier: pathlib.Path | None) -> Run:
    """Advances `state` to `rounds` rounds in all, saving after every portion.

    Args:
      state: from `start`.
      rounds: rounds in all, those of an earlier run included.
      workdir: where to save; a kill loses at most the portion in flight. Of several processes one
        has a folder, and each calls this function.
      earlier: the saved state to go on from, if it is there.

    Raises:
      ValueError: a saved state that belongs to another problem or is damaged, or that not every
        process finds.
    """
    saved = None if workdir.folder is None else workdir.folder / SAVED
    seconds = 0.0
    if earlier is not None and earlier.exists():
        state = load(earlier, state)
        if workdir.folder is not None:
            seconds = _seconds_so_far(workdir.folder, int(state.progress.round))
    distributed.require_same("--workdir", int(state.progress.round))
    portion = -(-rounds // PORTIONS)
    left = rounds - int(state.progress.round)
    sizes = [portion] * (left // portion) + [left % portion] * (left % portion > 0)
    for size in sorted(set(sizes)):
        advance(state, size)  # compiled, and thrown away, so that the seconds are warm
    shown = len(sizes) if distributed.first() else 0
    for size in app.progress(sizes, shown, "portions"):
        if bool(np.all(state.progress.done)):
            break
        started = time.perf_counter()
        state = jax.block_until_ready(advance(state, size))
        seconds += time.perf_counter() - started
        moved = float(np.max(state.progress.moved))
        if saved is not None:
            save(saved, state)
        workdir.metric({"round": state.progress.round, "moved": moved, "seconds": seconds})
    solution = finish(state)
    # Of several processes: from all their devices to the host, where the problem is known.
    return Run(solution._replace(components=jax.tree.map(fetched, solution.components)), seconds)


def _seconds_so_far(folder: pathlib.Path, reached: int) -> float:
    """The seconds that the saved rounds took, from the line that was written with them."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return max((r["seconds"] for r in records if r["round"] <= reached), default=0.0)
