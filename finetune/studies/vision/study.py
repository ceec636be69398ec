"""The study of one data set over seeds, each stored when it is finished and not run again."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np

from finetune import models
from finetune.models.mlp import MLPConfig
from finetune.studies import stored
from finetune.studies.vision import halves as data
from finetune.studies.vision.cost import joint_flops, stage_flops
from finetune.studies.vision.paths import run_seed
from finetune.studies.vision.programs import Programs, programs
from finetune.studies.vision.setting import COMPONENTS, VisionSetting
from finetune.training import network

Tick = Callable[[str, int], None]


def study(
    setting: VisionSetting,
    folder: str | os.PathLike | None = None,
    tick: Tick = lambda stage, epochs: None,
) -> dict[str, np.ndarray]:
    """Sequential rank-one adapters over all paths of epochs against a joint one, several seeds.

    Args:
      setting: the data set, sizes and seeds.
      folder: where finished seeds are stored, and read; None stores nothing.
      tick: called with the stage's name and the number of epochs that were just finished (all of a
        seed's at once where it was stored), `setting.total_epochs` per seed in all.

    Returns:
      The arrays of `run_seed` with a first axis of S seeds, and seeds (S,), epochs (C,), rows and
      test_rows (training and test images of the second half), stage_flops (3,) and joint_flops
      (LoRA flops per image, see `cost`), hidden_size, seconds (S,), and the strings task and note.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: data that are not there; see
        `finetune.tasks.images.load`.

    Source: arXiv 2505.22602, experiments with LoRA on image classification.

    Example:
      >>> small = VisionSetting("digits", hidden_size=4, epochs=(1,), base_epochs=1,
      ...                       joint_epochs=1, rows=64, seeds=(0,))
      >>> study(small)["component_3"].shape
      (1, 1, 1, 1)
    """
    halves = data.load(setting)
    sizes = sizes_of(setting, halves)
    shared = made(setting, halves, sizes)
    name = f"{setting.task}-{setting.fingerprint()}-{halves.crc:08x}"
    runs = []
    for seed in setting.seeds:
        path = None if folder is None else pathlib.Path(folder) / f"{name}-{seed}.npz"
        arrays = None if path is None else stored.read(path)
        if arrays is None:
            started = time.perf_counter()
            params = network_of(sizes, seed).params
            arrays = run_seed(setting, shared, halves, params, seed, lambda stage: tick(stage, 1))
            arrays["seconds"] = np.float32(time.perf_counter() - started)
            if path is not None:
                stored.write(path, arrays)
        else:
            tick("stored", setting.total_epochs)
        runs.append(arrays)
    return {
        **{key: np.stack([run[key] for run in runs]) for key in runs[0]},
        "epochs": np.asarray(setting.epochs),
        "test_rows": np.asarray(halves.second.test.labels.shape[0]),
        "hidden_size": np.asarray(setting.hidden_size),
        **costs(setting, halves, sizes),
    }


def costs(setting: VisionSetting, halves: data.Halves, sizes: MLPConfig) -> dict[str, np.ndarray]:
    """What the arrays of a study say beside its accuracies: seeds, rows, flops, task and note."""
    shapes = [shape for _, shape in sorted(models.linears(models.abstract(sizes)).items())]
    return {
        "seeds": np.asarray(setting.seeds),
        "rows": np.asarray(halves.second.train.labels.shape[0]),
        "stage_flops": np.asarray([stage_flops(shapes, k + 1) for k in range(COMPONENTS)]),
        "joint_flops": np.asarray(joint_flops(shapes, COMPONENTS)),
        "task": np.asarray(setting.task),
        "note": np.asarray(halves.task.note),
    }


def sizes_of(setting: VisionSetting, halves: data.Halves) -> MLPConfig:
    """The network's sizes, for the images and classes of both halves."""
    return MLPConfig(
        num_labels=halves.task.num_labels,
        input_size=halves.first.train.pixels.shape[1],
        hidden_size=setting.hidden_size,
    )


def made(setting: VisionSetting, halves: data.Halves, sizes: MLPConfig) -> Programs:
    """The programs of a setting, shared by its seeds."""
    return programs(
        network_of(sizes, 0), halves.task.loss, COMPONENTS, setting.learning_rate, setting.std
    )


def network_of(sizes: MLPConfig, seed: int) -> network.Network:
    """The random network of a seed."""
    return network.from_module(models.initialise(sizes, jax.random.key(seed)))
