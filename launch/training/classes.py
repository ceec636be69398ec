"""The classes of a run: its network's numbering, kept, and met with the data's."""

from __future__ import annotations

import dataclasses
import pathlib

from finetune import tasks
from finetune.tasks import class_names
from finetune.training import adapter_files

AnyTask = tasks.Task | tasks.LanguageTask | tasks.SpanTask


def of_run(run: pathlib.Path) -> tuple[str, ...]:
    """The classes that a run of `launch.train` has kept; () of a run that numbered as its data."""
    return tuple(adapter_files.load(run / "adapter.safetensors").about.get("classes", ()))


def names(task: AnyTask) -> tuple[str, ...]:
    """The classes of a task by number; () of one without."""
    return getattr(task, "label_names", ())


def fixed(task: AnyTask, classes: tuple[str, ...]) -> AnyTask:
    """The task for a network that was trained for `classes`; () leaves it as it is.

    Raises:
      ValueError: the data have other classes.
    """
    if not (names(task) and classes):
        return task
    renumbered = class_names.renumbered(task, classes)
    if renumbered is None:
        own, others = ", ".join(names(task)), ", ".join(classes)
        raise ValueError(
            f"the data have the classes {own}; allowed are those of the network, {others} (of an "
            "adapter that brings a head of its own, say --head=new)"
        )
    return renumbered


def begun(task: AnyTask, classes: tuple[str, ...] | None, model: str) -> AnyTask:
    """The task for training on from a model whose config.json names `classes`, None if none.

    Where the data have others, their own numbering stays, and the task's note says so.
    """
    if not (names(task) and classes):
        return task
    renumbered = class_names.renumbered(task, classes)
    # With another number of classes the head does not fit either, and is refused as that.
    if renumbered is not None or len(classes) != task.num_labels:
        return renumbered or task
    remark = (
        f"--model={model} names its classes {', '.join(classes)}, the data {', '.join(names(task))}"
    )
    return dataclasses.replace(task, note="; ".join(filter(None, (task.note, remark))))
