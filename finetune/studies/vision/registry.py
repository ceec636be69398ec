"""The figures of the image study by name, with the data they are drawn from.

Without images of their own they use scikit-learn's digits, which every installation has, and say so
in their titles: the digits show the program at work, not the paper's numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib

import numpy as np

from finetune.studies.vision.figures import components, efficiency, flops, order, paths, spread
from finetune.studies.vision.setting import VisionSetting
from finetune.studies.vision.study import study
from finetune.studies.vision.sweep_figures import from_bases, under_budgets
from finetune.studies.vision.sweeps import sweep
from finetune.tasks import images
from rankwise.plots.recipe import Progress, Recipe, Scale, silent

SOURCE = "arXiv 2505.22602"
# Few images need small batches for as many steps; the seeds are the paper's first.
DIGITS = {"task": "digits", "batch_size": 16, "learning_rate": 3e-3}
QUICK = {"hidden_size": 128, "seeds": (42, 43)}
# Of real images, as many as take a minute.
SOME = {"rows": 1000, "seeds": (42,), "batch_size": 16}
BUDGETS = {"totals": (6, 18, 27), "alphas": (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0)}
BASES = {"base_epochs": (1, 2, 5, 10, 20), "totals": (18,), "alphas": (-1.0, 0.0, 1.0)}
PUBLISHED = ("mnist", "cifar10", "cifar100")


@dataclasses.dataclass(frozen=True)
class Suite:
    """The data sets that a figure shows, one panel each."""

    settings: tuple[VisionSetting, ...]

    @property
    def epochs(self) -> int:
        """Epochs of all training, the unit of progress."""
        return sum(setting.total_epochs * len(setting.seeds) for setting in self.settings)


@functools.lru_cache(maxsize=1)
def experiment(
    suite: Suite, folder: str | os.PathLike | None = None, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """The arrays that all figures of the study are drawn from: tasks (D,), and task_name.

    One run serves them all: the arrays of the last suite stay in memory.

    Args:
      suite: from a recipe's `scale`.
      folder: where finished seeds are stored, see `finetune.studies.vision.study`.
      progress: shows the epochs of all training.
    """
    ticks = progress(range(suite.epochs), suite.epochs, "epochs")

    def tick(stage: str, epochs: int) -> None:
        for _ in range(epochs):
            next(ticks)

    arrays = {"tasks": np.asarray([setting.task for setting in suite.settings])}
    for setting in suite.settings:
        measured = study(setting, folder, tick)
        arrays |= {f"{setting.task}_{name}": value for name, value in measured.items()}
    next(ticks, None)  # the line, or the end of the bar, after the last epoch
    return arrays


def swept(suite: Suite, **options) -> dict[str, np.ndarray]:
    """As `experiment`, the arrays of `sweep`; the bases are the setting's unless options say."""
    arrays = {"tasks": np.asarray([setting.task for setting in suite.settings])}
    for setting in suite.settings:
        own = {"base_epochs": (setting.base_epochs,), **options}
        arrays |= {f"{setting.task}_{name}": value for name, value in sweep(setting, **own).items()}
    return arrays


def sizes(scale: str, seed: int | None, data_dir: str | os.PathLike | None, model) -> Scale:
    """The data sets of a size: all that `data_dir` has of the published ones, else digits.

    Raises:
      FileNotFoundError: a folder with none of them.

    Example:
      >>> sizes("quick", 7, None, None).setting.settings[0].seeds
      (7,)
    """
    settings = _digits(scale) if data_dir is None else _images(scale, data_dir)
    if seed is not None:
        settings = [dataclasses.replace(setting, seeds=(seed,)) for setting in settings]
    return Scale(Suite(tuple(settings)))


def registry() -> dict[str, Recipe]:
    """All figures of the image study by name; `finetune.studies.survey.registry` has those of the
    survey.

    Example:
      >>> list(registry())[0]
      'vision_components'
    """
    rows = (
        ("components", "Figure 2", "accuracy after each component", components),
        ("paths", "Figures 4 and 12", "accuracy along all paths of epochs", paths),
        ("efficiency", "Figures 3 and 11", "accuracy per epoch of a path", efficiency),
        ("spread", "Figure 13", "spread over the paths, by rank", spread),
        ("flops", "accuracy at like flops", "accuracy against LoRA flops", flops),
        ("order", "front-loading", "the same epochs, falling and rising", order),
    )
    recipes = [
        Recipe(f"vision_{name}", f"{SOURCE}, {where}", shows, experiment, draw, sizes, True)
        for name, where, shows, draw in rows
    ]
    sweeps = (
        ("budgets", "note, sweep with LoRA", "the lead over the joint adapter by budget", BUDGETS),
        ("bases", "appendix F", "influence of the base's quality", BASES),
    )
    drawings = {"budgets": under_budgets, "bases": from_bases}
    recipes += [
        Recipe(
            f"vision_{name}",
            f"{SOURCE}, {where}",
            shows,
            swept,
            drawings[name],
            lambda *size, options=options: dataclasses.replace(sizes(*size), options=options),
        )
        for name, where, shows, options in sweeps
    ]
    return {recipe.name: recipe for recipe in recipes}


def _digits(scale: str) -> list[VisionSetting]:
    return [VisionSetting(**DIGITS, **(QUICK if scale == "quick" else {}))]


def _images(scale: str, data_dir: str | os.PathLike) -> list[VisionSetting]:
    folder = pathlib.Path(data_dir)
    there = [task for task in PUBLISHED if images.has(folder, task)]
    if not there:
        raise FileNotFoundError(f"{folder} has no images of {', '.join(PUBLISHED)}")
    options = SOME if scale == "quick" else {}
    return [VisionSetting(task, data_dir=os.fspath(folder), **options) for task in there]
