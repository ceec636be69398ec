"""Fewer rows: a few of a split, or some training rows held out to choose settings on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from finetune.tasks.splits import Split
from finetune.tasks.task import Task
from rankwise import checks


def few(task: Task, name: str, rows: int, seed: int, split: str = "train") -> Task:
    """The task with `rows` of a split's rows, drawn without replacement, in their order.

    Args:
      name: of the setting that says how many, for what is refused.

    Raises:
      ValueError: more rows than there are, or none.

    Example:
      >>> from finetune.tasks import load
      >>> len(few(load("digits"), "train_rows", 32, seed=0).split("train"))
      32
    """
    count = len(task.split(split))
    checks.integer(name, rows, 1, count, why=f" (the rows of {split!r})")
    chosen = np.random.default_rng(seed).permutation(count)[:rows]
    return task.select(split, np.sort(chosen))


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


def with_share(splits: Mapping[str, Split], share: float) -> dict[str, Split]:
    """The splits with `share` of the training rows as one more, "heldout", always the same rows.

    Args:
      share: 0, or no training split, holds nothing out.

    Raises:
      ValueError: a share outside [0, 1), or one that leaves a split without rows.

    Example:
      >>> rows = Split({"x": np.arange(10)}, None)
      >>> {name: len(part) for name, part in with_share({"train": rows}, 0.2).items()}
      {'train': 8, 'heldout': 2}
    """
    require_share(share)
    if not share or "train" not in splits:
        return dict(splits)
    train = splits["train"]
    order = np.random.default_rng(0).permutation(len(train))
    border = round(share * len(train))
    if not 0 < border < len(train):
        raise ValueError(
            f"heldout is {share!r}, of {len(train)} rows {border}; allowed is a share that leaves "
            "rows on both sides"
        )
    # Sorted: the rows stay in the order of the file.
    return {
        **splits,
        "train": train[np.sort(order[border:])],
        "heldout": train[np.sort(order[:border])],
    }


def require_share(share: float) -> None:
    """Refuses a share outside [0, 1) with a ValueError."""
    checks.positive("heldout", share, zero=True)
    if share >= 1:
        raise ValueError(f"heldout is {share!r}; allowed are numbers from 0 to below 1")
