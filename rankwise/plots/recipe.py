"""What a figure is: an experiment that yields arrays, a drawing of them, and two sizes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

SCALES = ("quick", "paper")
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of an experiment: its setting and the options that differ from the defaults."""

    setting: Any
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A figure by name.

    Attributes:
      name: of its files, and of the figure in a claim.
      source: document and figure number.
      shows: one sentence.
      experiment: (setting, **options) -> arrays.
      draw: (arrays, setting) -> Figure.
      quick, paper: a size that takes seconds, and the published one.

    Example:
      >>> def line(setting):
      ...     return {"y": np.linspace(0, setting, 3)}
      >>> def draw(arrays, setting):
      ...     figure = Figure()
      ...     figure.subplots().plot(arrays["y"])
      ...     return figure
      >>> recipe = Recipe("line", "here", "a line", line, draw, Scale(1), Scale(2))
      >>> len(recipe.figure("paper").axes)
      1
    """

    name: str
    source: str
    shows: str
    experiment: Callable[..., dict[str, np.ndarray]]
    draw: Callable[[Arrays, Any], Figure]
    quick: Scale
    paper: Scale

    def scale(self, name: str = "quick", seed: int | None = None) -> Scale:
        """The size of that name, with another seed if one is given.

        Raises:
          ValueError: for an unknown name.
        """
        if name not in SCALES:
            raise ValueError(f"scale is {name!r}; allowed are {SCALES}")
        scale = self.quick if name == "quick" else self.paper
        if seed is None:
            return scale
        return dataclasses.replace(scale, setting=dataclasses.replace(scale.setting, seed=seed))

    def arrays(self, scale: str = "quick", seed: int | None = None) -> dict[str, np.ndarray]:
        """Runs the experiment."""
        size = self.scale(scale, seed)
        return self.experiment(size.setting, **size.options)

    def figure(self, scale: str = "quick", seed: int | None = None) -> Figure:
        """Runs the experiment and draws it."""
        return self.draw(self.arrays(scale, seed), self.scale(scale, seed).setting)
