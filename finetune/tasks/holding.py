"""Training rows held out, so that settings are not chosen on the rows that are reported."""

from __future__ import annotations

import dataclasses

import numpy as np

from deflation import checks
from finetune.tasks.task import Task


def held_out(task: Task, share: float, seed: int) -> Task:
    """The task with `share` of its training rows as its only other split, "heldout".

    Args:
      share: between 0 and 1; at least one row is on either side.
      seed: of the choice of rows.

    Raises:
      ValueError: a share outside (0, 1), or fewer than two training rows.

    Example:
      >>> from finetune.tasks import load
      >>> task = held_out(load("digits"), 0.1, seed=0)
      >>> task.evaluation, len(task.split("train")) + len(task.split("heldout"))
      ('heldout', 1438)
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; allowed are numbers between 0 and 1")
    rows = task.split("train")
    count = checks.integer("training rows", len(rows), 2)
    order = np.random.default_rng(seed).permutation(count)
    size = min(max(round(share * count), 1), count - 1)
    splits = {"train": rows[np.sort(order[size:])], "heldout": rows[np.sort(order[:size])]}
    return dataclasses.replace(task, splits=splits)
