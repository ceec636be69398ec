"""Whether a task's inputs fit a pretrained network, said before anything is written."""

from __future__ import annotations

import numpy as np

from finetune import models, tasks
from launch.training.problem_config import ProblemConfig


def pixels(task: tasks.Task) -> int:
    """Numbers in one image."""
    return task.batch("train", 0, 0, 1)["pixels"].size


def require_fit(config: ProblemConfig, task: tasks.Task, sizes: models.Config) -> None:
    """Refuses a pretrained model for other inputs, before anything is written."""
    takes = getattr(sizes, "input_size", None)  # of networks for images
    numbers = None if config.text else pixels(task)
    if takes != numbers:
        raise ValueError(
            f"--model={config.model} takes {takes or 'no'} numbers of an image; "
            f"--task={config.task} gives {numbers or 'none'}"
        )


def require_tables(config: ProblemConfig, task: tasks.Task, sizes: models.Config) -> None:
    """Refuses texts, in any split, that reach beyond the model's tables of positions and segments.

    A look-up would silently repeat the last row.
    """
    most, kinds = (getattr(sizes, name, None) for name in ("positions", "type_vocab_size"))
    if most is None:
        return
    for name, split in task.splits.items():
        last = int(split.inputs["token_type_ids"].values.max())
        if kinds is not None and last >= kinds:
            raise ValueError(
                f"--texts has {last + 1} columns; allowed with --model={config.base()} is "
                f"{kinds}, its type_vocab_size"
            )
        lengths = task.tokens(name)
        row = int(np.argmax(lengths))
        # What the batch of the longest text is padded to.
        padded = next(length for length in task.lengths if length >= lengths[row])
        if padded > most:
            raise ValueError(
                f"row {split.index[row]} of split {name!r} has {lengths[row]} tokens, padded to "
                f"{padded}; allowed are {most}, the positions of --model={config.base()}: "
                f"use --max_length={most}"
            )
