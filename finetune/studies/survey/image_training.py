"""Training on images as the survey's experiments do it: setting, data, batches, optimiser, loss.

Source: arXiv 2503.19859, Figures 1, 8, 9 and 10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.models.config import Config
from finetune.models.dense import DenseConfig
from finetune.models.resnet import ResNetConfig
from finetune.models.vgg import VGGConfig
from finetune.models.vit import ViTConfig
from finetune.studies.vision.halves import orders
from finetune.tasks import Task, images
from finetune.tasks.batches import Rows
from rankwise import checks

NETWORKS = ("dln", "mlp", "vgg", "vit", "resnet")
OPTIMISERS = ("sgd", "adam")
LOSSES = ("squared", "cross_entropy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSetting:
    """One network, its data and its training.

    Attributes:
      network: "dln" (orthogonal start), "mlp", "vgg", "vit" or "resnet".
      sizes: entries of its configuration that differ from the defaults.
      task, data_dir, rows: see `finetune.studies.vision.setting.VisionSetting`.
      optimiser, learning_rate, momentum, weight_decay: of all training; SGD adds the decay to the
        gradient, as torch does.
      cosine: whether the rate falls to 0 along a cosine.
      loss: "squared", the mean over examples and classes of the squared distance to the one-hot
        label, or "cross_entropy".
      batch_size, epochs: of all training.
      snapshots: how often training is interrupted to look, at equal distances.
      seed: of the start and the order of the images.

    Raises:
      ValueError: an entry outside its range.
    """

    network: str
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    task: str = "digits"
    data_dir: str | None = None
    rows: int | None = None
    optimiser: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    cosine: bool = False
    loss: str = "cross_entropy"
    batch_size: int = 128
    epochs: int = 10
    snapshots: int = 20
    seed: int = 0

    def __post_init__(self):
        checks.choice("network", self.network, NETWORKS)
        checks.choice("task", self.task, images.NAMES)
        checks.choice("optimiser", self.optimiser, OPTIMISERS)
        checks.choice("loss", self.loss, LOSSES)
        checks.positive("learning_rate", self.learning_rate)
        for name in ("batch_size", "epochs", "snapshots"):
            checks.integer(name, getattr(self, name), 1)
        checks.integer("seed", self.seed, 0)


def config_of(setting: ImageSetting, task: Task) -> Config:
    """The configuration of the network, fitted to the images."""
    height, _, channels = task.split("train").inputs["pixels"].shape[1:]
    common = {"num_labels": task.num_labels}
    if setting.network in ("dln", "mlp"):
        size = height**2 * channels
        kind = "identity" if setting.network == "dln" else "relu"
        common |= {"input_size": size, "hidden_size": size, "num_layers": 4, "activation": kind}
        return DenseConfig(**common | dict(setting.sizes))
    common |= {"image_size": height, "num_channels": channels}
    kinds = {"vgg": VGGConfig, "vit": ViTConfig, "resnet": ResNetConfig}
    return kinds[setting.network](**common | dict(setting.sizes))


def train_data(setting, task: Task) -> dict[str, jax.Array]:
    """The training images on the device: pixels (n, height, width, channels), labels (n,)."""
    split = task.split("train")
    chosen = np.arange(len(split))
    if setting.rows is not None and setting.rows < len(split):
        chosen = np.random.default_rng(0).permutation(len(split))[: setting.rows]
    pixels = task.collate(split.inputs, chosen)["pixels"]
    return {"pixels": jnp.asarray(pixels), "labels": jnp.asarray(split.labels[chosen])}


def chunks(setting, task: Task) -> Rows:
    """Batches as a pytree with axes (snapshots, steps of one, batch)."""
    size = len(task.split("train"))
    size = size if setting.rows is None else min(size, setting.rows)
    epochs = [
        orders(size, setting.batch_size, setting.seed, epoch) for epoch in range(setting.epochs)
    ]
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *epochs)
    # Equal chunks share one program: the last few steps that fill none are left out.
    chunk = len(rows.indices) // setting.snapshots
    if chunk == 0:
        raise ValueError(
            f"snapshots is {setting.snapshots}; allowed are at most {len(rows.indices)}, the steps"
        )
    count = chunk * setting.snapshots
    return jax.tree.map(lambda x: x[:count].reshape(setting.snapshots, chunk, -1), rows)


def parts(rows: Rows) -> Iterator[Rows]:
    """The batches of each snapshot of `chunks`, on the device."""
    for number in range(len(rows.indices)):
        yield Rows(*(jnp.asarray(leaf[number]) for leaf in rows))


def optimiser(setting, steps: int) -> optax.GradientTransformation:
    """SGD or Adam for so many steps."""
    rate = setting.learning_rate
    if setting.cosine:
        rate = optax.cosine_decay_schedule(rate, steps)
    decay = optax.add_decayed_weights(setting.weight_decay)
    if setting.optimiser == "adam":
        return optax.chain(decay, optax.adam(rate))
    return optax.chain(decay, optax.sgd(rate, setting.momentum or None))


def example_loss(kind: str, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Of each example, (b,)."""
    if kind == "squared":
        return jnp.square(logits - jax.nn.one_hot(labels, logits.shape[1])).mean(axis=1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
