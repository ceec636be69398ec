"""Singular values of W(t) - W(0) over training: how many directions training moves.

Source: arXiv 2503.19859, Figures 1 (the penultimate matrix of four networks), 8 and 10 (FC2 and
value matrices of every layer of a vision transformer).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deflation import checks
from finetune.experiments.descent import descend, orthogonal, pure, singular_values
from finetune.experiments.halves import orders
from finetune.models.config import Config
from finetune.models.dense import DenseConfig
from finetune.models.initialise import initialise
from finetune.models.vgg import VGGConfig
from finetune.models.vit import ViTConfig
from finetune.tasks import Task, images
from finetune.tasks.batches import Rows
from finetune.weights.naming import named_leaves, rebuild

NETWORKS = ("dln", "mlp", "vgg", "vit")
OPTIMISERS = ("sgd", "adam")
LOSSES = ("squared", "cross_entropy")
FC2 = r"layer\.\d+\.output"
VALUE = r"layer\.\d+\.attention\.value"


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateSetting:
    """One network, its data and its training.

    Attributes:
      network: "dln" (orthogonal start), "mlp", "vgg" or "vit".
      sizes: entries of its configuration that differ from the defaults.
      task, data_dir, rows: see `finetune.experiments.VisionSetting`.
      optimiser, learning_rate, momentum, weight_decay: of all training; SGD adds the decay to the
        gradient, as torch does.
      cosine: whether the rate falls to 0 along a cosine.
      loss: "squared", the mean over examples and classes of the squared distance to the one-hot
        label, or "cross_entropy".
      batch_size, epochs: of all training.
      snapshots: how often the values are taken, beside the start, at equal distances.
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


def config_of(setting: UpdateSetting, task: Task) -> Config:
    """The configuration of the network, fitted to the images."""
    height, _, channels = task.split("train").inputs["pixels"].shape[1:]
    common = {"num_labels": task.num_labels}
    if setting.network in ("dln", "mlp"):
        size = height**2 * channels
        kind = "identity" if setting.network == "dln" else "relu"
        common |= {"input_size": size, "hidden_size": size, "num_layers": 4, "activation": kind}
        return DenseConfig(**common | dict(setting.sizes))
    common |= {"image_size": height, "num_channels": channels}
    kind = VGGConfig if setting.network == "vgg" else ViTConfig
    return kind(**common | dict(setting.sizes))


def penultimate(config: Config) -> str:
    """The last kernel before the head: W_pen.

    Of a VGG the last hidden layer of its classifier, which has to have one. Of a transformer, whose
    layers end with FC2, that of the last layer.

    Example:
      >>> penultimate(DenseConfig(num_labels=10, input_size=64, hidden_size=64, num_layers=4))
      'layers.2'
    """
    if isinstance(config, DenseConfig):
        return f"layers.{config.num_layers - 2}"
    if isinstance(config, VGGConfig):
        return f"classifier.{len(config.classifier_sizes) - 1}"
    return f"layer.{config.num_hidden_layers - 1}.output"


def update_spectra(
    setting: UpdateSetting, pattern: str | None = None, tick: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """Trains and takes the singular values of the changes of some kernels.

    Args:
      pattern: a regular expression that matches their paths; None for `penultimate`.
      tick: called at every snapshot.

    Returns:
      steps (T,), from 0; paths (P,); values (P, T, k), the k largest, or all where matrices are of
      one shape; initial (P, k), of W(0); losses (T,), the mean over the steps since the snapshot
      before, NaN at 0; accuracy (), on test images; task, note.

    Example:
      >>> small = UpdateSetting(network="mlp", rows=32, epochs=1, batch_size=16, snapshots=2)
      >>> update_spectra(small)["values"].shape
      (1, 3, 64)
    """
    task = images.load(setting.task, setting.data_dir)
    config = config_of(setting, task)
    model = _started(setting, config)
    pattern = re.escape(penultimate(config)) if pattern is None else pattern
    names = [n for n, leaf in named_leaves(model).items() if leaf.transposed]
    paths = [n.removesuffix(".weight") for n in names]
    chosen = [path for path in paths if re.fullmatch(pattern, path)]
    if not chosen:
        raise ValueError(f"pattern is {pattern!r}; it matches none of {', '.join(paths)}")
    forward, params = pure(model)
    data, rows = _train_data(setting, task), _rows(setting, task)
    chunk = rows.indices.shape[1]
    tx = _optimiser(setting, setting.snapshots * chunk)

    def loss(params, row):
        labels = data["labels"][row.indices]
        logits = forward(params, {"pixels": data["pixels"][row.indices]}).logits
        return jnp.average(_loss(setting.loss, logits, labels), weights=row.weight)

    @jax.jit
    def advance(params, moments, rows):
        params, moments, losses = descend(loss, tx, params, moments, rows)
        return params, moments, losses.mean()

    def kernels(params):
        leaves = named_leaves(rebuild_from(model, params))
        return [leaves[f"{path}.weight"].value for path in chosen]

    first, moments = kernels(params), tx.init(params)
    # Once for all snapshots, or each would compile its decomposition anew.
    spectra = jax.jit(
        lambda now, then: jax.tree.map(lambda a, b: singular_values(a - b), now, then)
    )
    found, losses = [[np.zeros(min(w.shape)) for w in first]], [np.nan]
    for number in range(setting.snapshots):
        part = [jnp.asarray(leaf[number]) for leaf in rows]
        params, moments, value = advance(params, moments, Rows(*part))
        found.append([np.asarray(s) for s in spectra(kernels(params), first)])
        losses.append(float(value))
        tick()
    start = [np.asarray(s) for s in spectra(first, [jnp.zeros_like(w) for w in first])]
    size = min(len(s) for s in start)
    return {
        "steps": chunk * np.arange(setting.snapshots + 1),
        "paths": np.asarray(chosen),
        "values": np.stack([[s[:size] for s in row] for row in found], axis=1),
        "initial": np.stack([s[:size] for s in start]),
        "losses": np.asarray(losses),
        "accuracy": _accuracy(forward, params, task),
        "rows": np.asarray(len(data["labels"])),
        "task": np.asarray(setting.task),
        "note": np.asarray(task.note),
        "network": np.asarray(setting.network),
    }


def rebuild_from(model, params):
    """The model with another tree of parameters."""
    leaves = dict(zip(named_leaves(model), jax.tree.leaves(params), strict=True))
    return rebuild(model, leaves)


def _started(setting, config):
    key = jax.random.key(setting.seed)
    model = initialise(config, key)
    if setting.network != "dln":
        return model
    values = {}
    for number, (name, leaf) in enumerate(named_leaves(model).items()):
        values[name] = orthogonal(jax.random.fold_in(key, number), leaf.shape)
    return rebuild(model, values)


def _train_data(setting, task) -> dict[str, jax.Array]:
    split = task.split("train")
    chosen = np.arange(len(split))
    if setting.rows is not None and setting.rows < len(split):
        chosen = np.random.default_rng(0).permutation(len(split))[: setting.rows]
    pixels = task.collate(split.inputs, chosen)["pixels"]
    return {"pixels": jnp.asarray(pixels), "labels": jnp.asarray(split.labels[chosen])}


def _rows(setting, task):
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


def _optimiser(setting, steps: int) -> optax.GradientTransformation:
    rate = setting.learning_rate
    if setting.cosine:
        rate = optax.cosine_decay_schedule(rate, steps)
    decay = optax.add_decayed_weights(setting.weight_decay)
    if setting.optimiser == "adam":
        return optax.chain(decay, optax.adam(rate))
    return optax.chain(decay, optax.sgd(rate, setting.momentum or None))


def _loss(kind: str, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Of each example, (b,)."""
    if kind == "squared":
        return jnp.square(logits - jax.nn.one_hot(labels, logits.shape[1])).mean(axis=1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _accuracy(forward, params, task, size: int = 500) -> np.ndarray:
    split, right = task.split("test"), 0
    logits = jax.jit(lambda params, x: forward(params, {"pixels": x}).logits)
    for start in range(0, len(split), size):
        rows = np.arange(start, min(start + size, len(split)))
        pixels = task.collate(split.inputs, rows)["pixels"]
        found = np.asarray(logits(params, jnp.asarray(pixels))).argmax(axis=1)
        right += int((found == split.labels[rows]).sum())
    return np.asarray(right / len(split))
