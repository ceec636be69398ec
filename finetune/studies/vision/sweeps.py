"""Sequential adapters under a budget of epochs that is divided in several ways, from several bases.

Where the study of `paths` has every choice of epochs, this has the paper's one-parameter family of
divisions for a few budgets, and the base network at several stages of its own training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from deflation import budgets
from finetune.studies.vision import halves as data
from finetune.studies.vision.paths import bases, component, joint
from finetune.studies.vision.setting import COMPONENTS, VisionSetting
from finetune.studies.vision.study import costs, made, network_of, sizes_of


def sweep(
    setting: VisionSetting,
    base_epochs: Sequence[int],
    totals: Sequence[int],
    alphas: Sequence[float],
) -> dict[str, np.ndarray]:
    """Accuracies on the second half of the classes by base, budget and its division.

    Args:
      setting: the data set, sizes and seeds; of its epochs, those of `joint_epochs` alone count.
      base_epochs: E stages of the base, ascending. totals: T budgets of epochs, at least 3 each.
      alphas: A divisions, see `deflation.budgets.alpha_family`; each component gets an epoch.

    Returns:
      base_own, base_new (S, E) of the base on either half; path (S, E, T, A) after three stages;
      joint (S, E, joint_epochs) after every epoch of all at once; steps (T, A, 3), base_epochs,
      totals, alphas, and of `study`: seeds, rows, stage_flops, joint_flops, task, note.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: as in `study`.

    Source: arXiv 2505.22602, appendix F and figure 1; the note on it has the sweep with LoRA.

    Example:
      >>> small = VisionSetting("digits", hidden_size=4, joint_epochs=1, rows=64, seeds=(0,))
      >>> sweep(small, (1,), (3,), (0.0,))["path"].shape
      (1, 1, 1, 1)
    """
    split = [
        [budgets.alpha_family(COMPONENTS, total, alpha, minimum=1).steps for alpha in alphas]
        for total in totals
    ]
    halves = data.load(setting)
    sizes = sizes_of(setting, halves)
    programs = made(setting, halves, sizes)
    new, results = halves.second, {"base_own": [], "base_new": [], "path": [], "joint": []}
    for seed in setting.seeds:
        params = network_of(sizes, seed).params
        rows = {name: [] for name in results}
        for base in bases(setting, programs, halves.first, params, seed, base_epochs):
            rows["base_own"].append(programs.accuracy(base, halves.first.test))
            rows["base_new"].append(programs.accuracy(base, new.test))
            rows["joint"].append(joint(setting, programs, new, base, seed))
            paths = [[_path(setting, programs, new, base, seed, s) for s in own] for own in split]
            rows["path"].append(paths)
        for name, values in rows.items():
            results[name].append(values)
    return {
        **{name: np.asarray(values, np.float32) for name, values in results.items()},
        "steps": np.asarray(split),
        "base_epochs": np.asarray(base_epochs),
        "totals": np.asarray(totals),
        "alphas": np.asarray(alphas),
        **costs(setting, halves, sizes),
    }


def _path(setting, programs, half, params, seed: int, steps) -> float:
    """Accuracy after components that were trained for so many epochs each, in turn."""
    for depth, epochs in enumerate(steps, start=1):
        own = dataclasses.replace(setting, epochs=(epochs,))
        params = next(component(own, programs, half, params, depth, seed))
    return float(programs.accuracy(params, half.test))


def leads(arrays) -> np.ndarray:
    """Accuracy of a path minus that of the joint adapter at its LoRA flops, (S, E, T, A).

    The joint accuracy is interpolated between its epochs, from the base's before the first; NaN
    beyond the last.
    """
    costs_of_paths = np.asarray(arrays["steps"]) @ np.asarray(arrays["stage_flops"], float)
    curve = np.arange(arrays["joint"].shape[2] + 1) * float(arrays["joint_flops"])
    start = np.asarray(arrays["base_new"], float)[..., None]
    runs = np.concatenate([start, np.asarray(arrays["joint"], float)], axis=2)
    at = [[np.interp(costs_of_paths, curve, run, right=np.nan) for run in own] for own in runs]
    return np.asarray(arrays["path"], float) - np.asarray(at)
