"""A long solver run in chunks of rounds: progress, a saved state after each, and resumption."""

from __future__ import annotations

import pathlib
import time
from typing import NamedTuple

import jax
import numpy as np

from deflation import Solution, State, advance, finish, load, save
from launch.shell import distributed, waiting
from launch.shell.earlier import REMEDIES, SAVED
from launch.shell.outputs import Workdir
from rankwise import devices
from rankwise.records import read

CHUNKS = 10


class Run(NamedTuple):
    """A finished run: its solution, and the warm seconds of all its rounds."""

    solution: Solution
    seconds: float


def resumed(state: State, rounds: int, saved: pathlib.Path | None) -> State:
    """`state`, or that of an earlier run, before anything is written.

    Args:
      state: from `start`.
      rounds: rounds in all, those of an earlier run included.
      saved: the file to go on from, if it is there.

    Raises:
      ValueError: a saved state that belongs to another problem or is damaged, that not every
        process finds, or of more rounds.
    """
    if saved is not None and saved.exists():
        state = load(saved, state)
    reached = int(state.progress.round)
    distributed.require_same("--workdir", reached)
    if reached > rounds:
        raise ValueError(f"{saved} holds {reached} rounds; --rounds={rounds} are fewer; {REMEDIES}")
    return state


def run(state: State, rounds: int, workdir: Workdir) -> Run:
    """Advances `state` to `rounds` rounds in all, saving after every tenth of them.

    Args:
      state: from `resumed`.
      rounds: rounds in all, those of an earlier run included.
      workdir: where to save; a kill loses at most the chunk in flight. Of several processes one has
        a folder, and each calls this function. Of an M that is cut over them nothing is saved.
    """
    keep = workdir.folder is not None and devices.whole(state.problem.target)
    saved = workdir.folder / SAVED if keep else None
    reached = int(state.progress.round)
    seconds = _seconds_so_far(workdir.folder, reached) if saved is not None and reached else 0.0
    chunk = -(-rounds // CHUNKS)
    left = rounds - reached
    sizes = [chunk] * (left // chunk) + [left % chunk] * (left % chunk > 0)
    with waiting.stage("compiling"):
        for size in sorted(set(sizes)):
            advance(state, size)  # thrown away, so that the seconds are warm
    shown = len(sizes) if distributed.is_main_process() else 0
    for size in waiting.progress(sizes, shown, f"chunks of {chunk} rounds"):
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
    return Run(
        solution._replace(components=jax.tree.map(devices.fetched, solution.components)), seconds
    )


def _seconds_so_far(folder: pathlib.Path, reached: int) -> float:
    """The seconds that the saved rounds took, from the line that was written with them."""
    records = read(folder / "metrics.jsonl", reached, "round")
    return max((record["seconds"] for record in records), default=0.0)
