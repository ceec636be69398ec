"""What a figure is: an experiment that yields arrays, a drawing of them, and two sizes of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rankwise.plots.style import styled

SCALES = ("quick", "paper")
Arrays = Mapping[str, np.ndarray]
Folder = str | os.PathLike | None
Progress = Callable[[Iterable, int, str], Iterator]


def silent(items: Iterable, total: int, label: str) -> Iterator:
    """The `Progress` that shows nothing: passes the items on."""
    return iter(items)


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of an experiment: its setting and the options that differ from the defaults."""

    setting: Any
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


Sizes = Callable[[str, int | None, Folder, Folder], Scale]
"""(one of `SCALES`, seed, data_dir, model) -> Scale; see `Recipe.scale`."""


def sizes(quick: Scale, paper: Scale) -> Sizes:
    """Two fixed sizes, whose settings have a field `seed`; folders are not read.

    Example:
      >>> sizes(Scale(1), Scale(2))("paper", None, None, None).setting
      2
    """

    def size(name: str, seed: int | None, data_dir: Folder, model: Folder) -> Scale:
        scale = {"quick": quick, "paper": paper}[name]
        if seed is None:
            return scale
        return dataclasses.replace(scale, setting=dataclasses.replace(scale.setting, seed=seed))

    return size


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A figure by name.

    Attributes:
      name: of its files, and of the figure in a claim.
      source: document and figure number.
      shows: one sentence.
      experiment: (setting, **options) -> arrays.
      draw: (arrays, setting) -> Figure.
      sizes: makes the scales; see `sizes` for two fixed ones.
      resumable: whether the experiment also takes `folder`, where it keeps what is finished, and
        `progress`.

    Example:
      >>> def line(setting):
      ...     return {"y": np.linspace(0, setting, 3)}
      >>> def draw(arrays, setting):
      ...     figure = Figure()
      ...     figure.subplots().plot(arrays["y"])
      ...     return figure
      >>> recipe = Recipe("line", "here", "a line", line, draw, sizes(Scale(1), Scale(2)))
      >>> recipe.arrays("paper")["y"].tolist(), len(recipe.figure("paper").axes)
      ([0.0, 1.0, 2.0], 1)
    """

    name: str
    source: str
    shows: str
    experiment: Callable[..., dict[str, np.ndarray]]
    draw: Callable[[Arrays, Any], Figure]
    sizes: Sizes
    resumable: bool = False

    def scale(
        self,
        name: str = "quick",
        seed: int | None = None,
        data_dir: Folder = None,
        model: Folder = None,
    ) -> Scale:
        """The size of that name.

        Args:
          name: one of `SCALES`: a size that takes seconds, or the published one.
          seed: in place of the figure's own.
          data_dir, model: folders of data and of a network, for the figures that take them.

        Raises:
          ValueError: for an unknown name.
          FileNotFoundError: for a folder without the data that the figure needs.
        """
        if name not in SCALES:
            raise ValueError(f"scale is {name!r}; allowed are {SCALES}")
        return self.sizes(name, seed, data_dir, model)

    def measure(
        self, scale: Scale, folder: Folder = None, progress: Progress = silent
    ) -> dict[str, np.ndarray]:
        """Runs the experiment in a size; folder and progress are for one that is `resumable`."""
        watched = {"folder": folder, "progress": progress} if self.resumable else {}
        return self.experiment(scale.setting, **scale.options, **watched)

    def arrays(self, *args, **kwargs) -> dict[str, np.ndarray]:
        """Runs the experiment; arguments as of `scale`."""
        return self.measure(self.scale(*args, **kwargs))

    def figure(self, *args, **kwargs) -> Figure:
        """Runs the experiment and draws it; arguments as of `scale`."""
        scale = self.scale(*args, **kwargs)
        return styled(self.draw)(self.measure(scale), scale.setting)
