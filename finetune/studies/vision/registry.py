"""The figures of the image study by name, with the data they are drawn from.

Without images of their own they use scikit-learn's digits, which every installation has, and say so
in their titles: the digits show the program at work, not the paper's numbers.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finetune.studies.vision.figures import components, efficiency, flops, order, paths, spread
from finetune.studies.vision.setting import VisionSetting
from finetune.studies.vision.study import study
from finetune.tasks import images

SCALES = ("quick", "paper")
SOURCE = "arXiv 2505.22602"
# Few images need small batches for as many steps; the seeds are the paper's first.
DIGITS = {"task": "digits", "batch_size": 16, "learning_rate": 3e-3}
QUICK = {"hidden_size": 128, "seeds": (42, 43)}
# Of real images, as many as take a minute.
SOME = {"rows": 1000, "seeds": (42,), "batch_size": 16}
PUBLISHED = ("mnist", "cifar10", "cifar100")


@dataclasses.dataclass(frozen=True)
class Suite:
    """The data sets that a figure shows, one panel each."""

    settings: tuple[VisionSetting, ...]

    @property
    def epochs(self) -> int:
        """Epochs of all training, the unit of progress."""
        return sum(one.total_epochs * len(one.seeds) for one in self.settings)


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of an experiment, like that of the figures of linear_theory."""

    setting: Any
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A figure by name.

    Attributes:
      name: of its files.
      source: document and figure number.
      shows: one sentence.
      draw: (arrays, setting) -> Figure.

    Example:
      >>> registry()["vision_order"].scale("quick").setting.settings[0].task
      'digits'
    """

    name: str
    source: str
    shows: str
    draw: Callable[..., Figure]

    def scale(
        self,
        name: str = "quick",
        seed: int | None = None,
        data_dir: str | os.PathLike | None = None,
    ) -> Scale:
        """The size of that name.

        Args:
          seed: in place of all seeds.
          data_dir: a folder with some of MNIST, CIFAR-10 and CIFAR-100, see
            `finetune.tasks.images.load`.

        Raises:
          ValueError: an unknown name.
          FileNotFoundError: a folder with none of them.
        """
        if name not in SCALES:
            raise ValueError(f"scale is {name!r}; allowed are {SCALES}")
        settings = _digits(name) if data_dir is None else _images(name, data_dir)
        if seed is not None:
            settings = [dataclasses.replace(one, seeds=(seed,)) for one in settings]
        return Scale(Suite(tuple(settings)))

    @staticmethod
    def experiment(
        setting: Suite,
        folder: str | os.PathLike | None = None,
        tick: Callable[[str, int], None] = lambda stage, epochs: None,
    ) -> dict[str, np.ndarray]:
        """The arrays that all figures of the study are drawn from: tasks (D,), and task_name.

        Args:
          setting: from `scale`.
          folder, tick: see `finetune.studies.vision.study`.
        """
        arrays = {"tasks": np.asarray([one.task for one in setting.settings])}
        for one in setting.settings:
            found = study(one, folder, tick)
            arrays |= {f"{one.task}_{name}": value for name, value in found.items()}
        return arrays

    def arrays(self, scale: str = "quick", seed: int | None = None, data_dir=None):
        """Runs the study in the size of that name; see `scale`, `experiment`."""
        return self.experiment(self.scale(scale, seed, data_dir).setting)


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
    found = [Recipe(f"vision_{n}", f"{SOURCE}, {s}", shows, draw) for n, s, shows, draw in rows]
    return {recipe.name: recipe for recipe in found}


def _digits(scale: str) -> list[VisionSetting]:
    return [VisionSetting(**DIGITS, **(QUICK if scale == "quick" else {}))]


def _images(scale: str, data_dir: str | os.PathLike) -> list[VisionSetting]:
    folder = pathlib.Path(data_dir)
    there = [task for task in PUBLISHED if images.has(folder, task)]
    if not there:
        raise FileNotFoundError(f"{folder} has no images of {', '.join(PUBLISHED)}")
    options = SOME if scale == "quick" else {}
    return [VisionSetting(task, data_dir=os.fspath(folder), **options) for task in there]
