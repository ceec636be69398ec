"""Singular values of W(t) - W(0) over training: how many directions training moves.

Source: arXiv 2503.19859, Figures 1 (the penultimate matrix of four networks), 8 and 10 (FC2 and
value matrices of every layer of a vision transformer).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.config import Config
from finetune.models.dense import DenseConfig
from finetune.models.initialise import initialise
from finetune.models.vgg import VGGConfig
from finetune.studies.survey.descent import descend, orthogonal, pure, singular_values
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
from finetune.weights.naming import named_leaves, rebuild

FC2 = r"layer\.\d+\.output"
VALUE = r"layer\.\d+\.attention\.value"


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
    setting: ImageSetting, pattern: str | None = None, tick: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """Trains and takes the singular values of the changes of some kernels.

    Args:
      pattern: a regular expression that matches their paths; None for `penultimate`.
      tick: called at every snapshot.

    Returns:
      steps (T,), from 0; paths (P,); values (P, T, k), the k largest, or all where matrices are of
      one shape; initial (P, k), of W(0); losses (T,), the mean over the steps since the snapshot
      before, NaN at 0; accuracy (), on test images; task, note.

    Raises:
      ValueError: a pattern that matches nothing, more snapshots than steps, training that diverges.

    Example:
      >>> small = ImageSetting(network="mlp", rows=32, epochs=1, batch_size=16, snapshots=2)
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
    data, rows = train_data(setting, task), chunks(setting, task)
    chunk = rows.indices.shape[1]
    tx = optimiser(setting, setting.snapshots * chunk)

    def loss(params, row):
        labels = data["labels"][row.indices]
        logits = forward(params, {"pixels": data["pixels"][row.indices]}).logits
        return jnp.average(example_loss(setting.loss, logits, labels), weights=row.weight)

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
    values, losses = [[np.zeros(min(w.shape)) for w in first]], [np.nan]
    for number, part in enumerate(parts(rows), start=1):
        params, moments, value = advance(params, moments, part)
        if not np.isfinite(value):
            raise ValueError(
                f"learning_rate is {setting.learning_rate}; with it the loss of the "
                f"{setting.network} is not finite after {number * chunk} steps"
            )
        values.append([np.asarray(s) for s in spectra(kernels(params), first)])
        losses.append(float(value))
        tick()
    start = [np.asarray(s) for s in spectra(first, [jnp.zeros_like(w) for w in first])]
    size = min(len(s) for s in start)
    return {
        "steps": chunk * np.arange(setting.snapshots + 1),
        "paths": np.asarray(chosen),
        "values": np.stack([[s[:size] for s in row] for row in values], axis=1),
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


def _accuracy(forward, params, task, size: int = 500) -> np.ndarray:
    split, right = task.split("test"), 0
    logits = jax.jit(lambda params, x: forward(params, {"pixels": x}).logits)
    for start in range(0, len(split), size):
        rows = np.arange(start, min(start + size, len(split)))
        pixels = task.collate(split.inputs, rows)["pixels"]
        predicted = np.asarray(logits(params, jnp.asarray(pixels))).argmax(axis=1)
        right += int((predicted == split.labels[rows]).sum())
    return np.asarray(right / len(split))
