"""Dropout and the rank of the features of a ResNet on images.

A network is trained at each rate; counted are the singular values of its first features (the first
layer at every place of the image) and of its last (mean over the image of the last block) on test
images, without dropout, that exceed 2 per cent of the largest.

Source: arXiv 2503.19859, Figures 2 and 9 and appendix A: ResNet of 2-2-2-2 blocks with 64 to 512
channels, CIFAR-10, batches of 768, SGD with the rate 0.01 and no momentum. Where its dropout is,
its rates, and the number of epochs are not given there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.initialise import initialise
from finetune.studies.survey.descent import descend, pure, singular_values
from finetune.studies.survey.dropout_rank import count
from finetune.studies.survey.image_training import (
    ImageSetting,
    chunks,
    config_of,
    example_loss,
    optimiser,
    parts,
    train_data,
)
from finetune.tasks import images


@dataclasses.dataclass(frozen=True)
class ImageDropoutSetting:
    """The training, and the rates that it is repeated at.

    Raises:
      ValueError: a rate outside [0, 1), a network without a rate of its own.
    """

    training: ImageSetting
    rates: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8)
    examples: int = 1024

    def __post_init__(self):
        if self.training.network != "resnet":
            raise ValueError(f"network is {self.training.network!r}; allowed is 'resnet'")
        for rate in self.rates:
            if not 0 <= rate < 1:
                raise ValueError(f"rates has {rate}; allowed are numbers in [0, 1)")


def dropout_images(
    setting: ImageDropoutSetting, tick: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """The singular values of the features by rate.

    Args:
      tick: called after every rate.

    Returns:
      rates (R,), seeds (1,), resnet_values (1, R, k) and resnet_first_values (1, R, k_1), their
      resnet_counts (1, R) and resnet_first_counts (1, R), course_steps (T,) and resnet_course
      (1, R, T, k), the last features at T times from the start on, resnet_accuracy (1, R) on the
      same test images, rows, task, note.

    Example:
      >>> sizes = {"depths": (1,), "hidden_sizes": (4,)}
      >>> tiny = ImageSetting(network="resnet", sizes=sizes, rows=32, epochs=1, snapshots=1)
      >>> dropout_images(ImageDropoutSetting(tiny, (0.0,), examples=20))["resnet_values"].shape
      (1, 1, 4)
    """
    training = setting.training
    task = images.load(training.task, training.data_dir)
    key = jax.random.key(training.seed)
    forward, start = pure(initialise(config_of(training, task), key))
    data, rows = train_data(training, task), chunks(training, task)
    chunk = rows.indices.shape[1]
    tx = optimiser(training, training.snapshots * chunk)
    test = np.arange(min(setting.examples, len(task.split("test"))))
    pixels = jnp.asarray(task.collate(task.split("test").inputs, test)["pixels"])
    labels = task.split("test").labels[test]

    @jax.jit
    def advance(params, moments, rate, rows, keys):
        def loss(params, batch):
            row, key = batch
            inputs = {"pixels": data["pixels"][row.indices]}
            logits = forward(params, inputs, key=key, rate=rate).logits
            values = example_loss(training.loss, logits, data["labels"][row.indices])
            return jnp.average(values, weights=row.weight)

        return descend(loss, tx, params, moments, (rows, keys))[:2]

    @jax.jit
    def look(params):
        out = forward(params, {"pixels": pixels})
        first = out.hidden_states[0].reshape(-1, out.hidden_states[0].shape[-1])
        last = singular_values(out.hidden_states[-1])
        return _of_tall(first), last, out.logits.argmax(axis=1)

    firsts, courses, accuracy = [], [], []
    for rate in setting.rates:
        params, moments = start, tx.init(start)
        course = [look(params)[1]]
        for number, part in enumerate(parts(rows)):
            keys = jax.random.split(jax.random.fold_in(key, number), chunk)
            params, moments = advance(params, moments, rate, part, keys)
            first, last, predicted = look(params)
            course.append(last)
        firsts.append(np.asarray(first))
        courses.append(np.stack(course))
        accuracy.append((np.asarray(predicted) == labels).mean())
        tick()
    first, course = np.stack(firsts)[None], np.stack(courses)[None]
    return {
        "rates": np.asarray(setting.rates),
        "seeds": np.asarray([training.seed]),
        "resnet_values": course[:, :, -1],
        "resnet_counts": count(course[:, :, -1]),
        "resnet_first_values": first,
        "resnet_first_counts": count(first),
        "resnet_course": course,
        "course_steps": chunk * np.arange(training.snapshots + 1),
        "resnet_accuracy": np.asarray(accuracy)[None],
        "rows": np.asarray(len(data["labels"])),
        "task": np.asarray(training.task),
        "note": np.asarray(task.note),
    }


def _of_tall(matrix: jax.Array) -> jax.Array:
    """Singular values of a matrix of a million rows, to 1e-3 of the largest."""
    squares = jnp.linalg.eigvalsh(matrix.T @ matrix)[::-1]
    return jnp.sqrt(jnp.maximum(squares, 0))
