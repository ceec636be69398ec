"""One pass over the rows of a split, with the adapter of a run or of elsewhere."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from finetune.training import adapter_files
from finetune.training.loop import LoopConfig
from finetune.weights.files import read_json
from launch.shell import waiting
from launch.training.problem import Problem

ROWS = "eval_batch_size"
TEXT = "rows per forward pass; by default those of the run's evaluations, or 128"


def rows(asked: int | None, workdir: str | None) -> int:
    """Rows per pass: as asked for, else as the run in `workdir` had, which had room for them."""
    if asked is not None:
        return asked
    default = LoopConfig.eval_batch_size
    if workdir is None:
        return default
    return read_json(pathlib.Path(workdir) / "config.json").get(ROWS, default)


def answers(
    base: Problem, modules: Mapping[str, Any], head: Mapping[str, Any], split: str, size: int
) -> np.ndarray:
    """What the network with these changes answers to each row of the split, with progress.

    Args:
      modules: path -> change of the module, see `adapter_files.predict`.
      head: parameters of the head.
      size: rows per pass at most.
    """
    task, network = base.task, base.network
    forward = jax.jit(adapter_files.predict(network, modules, head, task.answer))
    size = task.pass_size(split, size)
    batches = waiting.progress(task.in_order(split, size), task.steps(split, size), "batches")
    return task.gathered(split, (forward(network.params, batch) for batch in batches))
