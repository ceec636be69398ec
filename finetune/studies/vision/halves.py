"""The two halves of the classes as arrays, and the order in which an epoch visits them."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from finetune.studies.vision.setting import VisionSetting
from finetune.tasks import Task, batches, images


class Images(NamedTuple):
    """A split on the device.

    Attributes:
      pixels: (n, features) float32, normalised by the whole training set.
      labels: (n,) int32, of all classes.
    """

    pixels: jax.Array
    labels: jax.Array


class Half(NamedTuple):
    """The images of one half of the classes."""

    train: Images
    test: Images


class Halves(NamedTuple):
    """What the base is trained on, and what it is adapted to.

    Attributes:
      first, second: the halves.
      task: with all classes, for its loss and notes.
      crc: of the training images used, to tell data apart.
    """

    first: Half
    second: Half
    task: Task
    crc: int


def load(setting: VisionSetting) -> Halves:
    """Both halves of the setting's data set.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: see `finetune.tasks.images.load`.

    Example:
      >>> load(VisionSetting("digits", rows=100)).second.train.pixels.shape
      (100, 64)
    """
    task = images.load(setting.task, setting.data_dir)
    crc, halves = 0, []
    for half in ("first", "second"):
        part = images.by_classes(task, half)
        size = len(part.split("train"))
        if setting.rows is not None and setting.rows < size:
            # The same rows for every seed, so that seeds differ by training alone.
            part = part.select("train", np.random.default_rng(0).permutation(size)[: setting.rows])
        halves.append(Half(_images(part, "train"), _images(part, "test")))
        pixels = part.split("train").inputs["pixels"]
        crc = zlib.crc32(np.ascontiguousarray(pixels).tobytes(), crc)
    return Halves(*halves, task, crc)


def orders(size: int, batch_size: int, seed: int, epoch: int) -> batches.Rows:
    """The batches of an epoch, the same as those of `finetune.tasks.Task.batch`.

    Returns:
      Rows with indices and weight (steps, b).

    Example:
      >>> orders(5, 4, seed=0, epoch=0).indices.shape
      (2, 4)
    """
    steps = batches.steps_per_epoch(size, batch_size)
    rows = [
        batches.shuffled(size, batch_size, seed, epoch * steps + number) for number in range(steps)
    ]
    indices = np.stack([row.indices for row in rows]).astype(np.int32)
    return batches.Rows(indices, np.stack([row.weight for row in rows]))


def _images(task: Task, split: str) -> Images:
    rows = task.split(split)
    batch = task.collate(rows.inputs, np.arange(len(rows)))
    return Images(jnp.asarray(batch["pixels"].reshape(len(rows), -1)), jnp.asarray(rows.labels))
