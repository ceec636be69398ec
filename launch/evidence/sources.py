"""Where the figures of `launch.figures` come from: the theory, and the studies with networks."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from finetune.studies.known_ranks import registry as known_ranks
from finetune.studies.survey import registry as survey
from finetune.studies.vision import registry as vision
from launch.shell import waiting
from linear_theory import figures as theory
from rankwise.plots.recipe import Recipe, Scale
from rankwise.plots.style import styled


def registry() -> dict[str, Recipe]:
    """All figures by name: those of the theory, then those that need networks."""
    return {**theory.registry(), **vision.registry(), **survey.registry(), **known_ranks.registry()}


def drawn(recipe: Recipe, scale: Scale, workdir: str) -> tuple[Figure, Mapping[str, np.ndarray]]:
    """The figure of a size, and the arrays that it shows.

    Args:
      workdir: where a study that can be resumed keeps its finished seeds, in a folder "seeds".
    """
    seeds = pathlib.Path(workdir).absolute() / "seeds"
    arrays = recipe.measure(scale, seeds, waiting.progress)
    return styled(recipe.draw)(arrays, scale.setting), arrays
