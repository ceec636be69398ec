"""MNIST, CIFAR-10, CIFAR-100 and scikit-learn's digits, normalised by the training set.

Pixels are kept as uint8 (n, height, width, channels) and become (p - mean_c) / std_c in float32 in
each batch, with mean and standard deviation of channel c over the whole training split.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import numpy as np

from finetune.tasks.files import image_files
from finetune.tasks.splits import Batch, Split
from finetune.tasks.task import Task
from rankwise import checks

CLASSES = ("all", "first", "second")
NAMES = ("digits", *image_files.HUB)


def load(name: str, data_dir: str | pathlib.Path | None = None, classes: str = "all") -> Task:
    """A task with inputs pixels (b, height, width, channels), splits train and test.

    Args:
      name: digits (in scikit-learn, needs no data), mnist, cifar10 or cifar100.
      data_dir: folder with mnist.npz (x_train, y_train, x_test, y_test), or with train.parquet and
        test.parquet of encoded images, in itself or in a folder of the task's name, "_jpeg"
        allowed behind it; None for the Hub.
      classes: "first" or "second" keeps the rows whose label is in that half of the classes (the
        sequential paper trains on the first and adapts on the second); the labels stay as they
        are, and so does the normalisation.

    Raises:
      FileNotFoundError: data_dir has no file of the task.
      ConnectionError: no data_dir, and the Hub cannot be reached.
      ValueError: an unknown name or half, a missing column, a wrong label, an unreadable image.

    Source: the halves are those of arXiv 2505.22602.

    Example:
      >>> load("digits").batch("train", seed=0, step=0, batch_size=4)["pixels"].shape
      (4, 8, 8, 1)
    """
    checks.choice("task", name, NAMES)
    checks.choice("classes", classes, CLASSES)
    published = image_files.digits() if name == "digits" else image_files.read(name, data_dir)
    task = Task(
        name=name,
        splits={
            split: Split({"pixels": pixels}, labels)
            for split, (pixels, labels) in published.arrays.items()
        },
        label_names=published.label_names,
        metrics=("accuracy",),
        collate=functools.partial(_collate, *moments(published.arrays["train"][0])),
        note=published.note,
    )
    return by_classes(task, classes)


def has(data_dir: str | pathlib.Path, name: str) -> bool:
    """Whether a folder of several data sets has this one: NAME.npz, NAME/ or NAME_jpeg/.

    Example:
      >>> has("/nowhere", "cifar100")
      False
    """
    folder = pathlib.Path(data_dir)
    inner = any((folder / f"{name}{end}").is_dir() for end in ("", "_jpeg"))
    return inner or (name == "mnist" and (folder / "mnist.npz").is_file())


def by_classes(task: Task, classes: str) -> Task:
    """The rows of one half of the classes in every split, see `load`; "all" changes nothing."""
    checks.choice("classes", classes, CLASSES)
    if classes == "all":
        return task
    middle = task.num_labels // 2
    kept = range(middle) if classes == "first" else range(middle, task.num_labels)
    for split in task.splits:
        task = task.select(split, np.flatnonzero(np.isin(task.labels(split), kept)))
    notes = [task.note] if task.note else []
    notes.append(f"only the classes {kept.start} to {kept.stop - 1}")
    return dataclasses.replace(task, note="; ".join(notes))


def moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, float32 (channels,), exact sums in integers.

    A constant channel has 1 in place of its deviation.
    """
    channels = pixels.shape[-1]
    total, square = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for start in range(0, len(pixels), 4096):
        part = pixels[start : start + 4096].reshape(-1, channels).astype(np.int64)
        total += part.sum(axis=0)
        square += np.square(part).sum(axis=0)
    count = pixels.size / channels
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean**2, 0))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _collate(
    mean: np.ndarray, std: np.ndarray, inputs: Mapping[str, np.ndarray], indices: np.ndarray
) -> Batch:
    return {"pixels": (inputs["pixels"][indices].astype(np.float32) - mean) / std}
